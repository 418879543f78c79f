// Graph <-> bytes (proto/graph.proto). One graph has exactly one serialisation.
#ifndef MOAI_GRAPH_SERIALIZE_H_
#define MOAI_GRAPH_SERIALIZE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/graph.h"

namespace moai {

// A longer serialisation is refused before it is decoded: decoding multiplies what a few bytes
// claim.
inline constexpr size_t kMaxGraphBytes = size_t{1} << 24;

// Requires a graph that verifies, or was parsed.
std::string SerializeGraph(const Graph& graph);

// Decodes only; the caller verifies. InvalidArgument names the field that is out of its type's
// range, and refuses bytes that SerializeGraph would not have made of the same graph.
absl::StatusOr<Graph> ParseGraph(absl::string_view bytes);

}  // namespace moai

#endif  // MOAI_GRAPH_SERIALIZE_H_
