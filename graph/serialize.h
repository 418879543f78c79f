// Graph <-> bytes (proto/graph.proto). One graph has exactly one serialisation.
#ifndef MOAI_GRAPH_SERIALIZE_H_
#define MOAI_GRAPH_SERIALIZE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/graph.h"

namespace moai {

std::string SerializeGraph(const Graph& graph);

// Decodes only; the caller verifies. InvalidArgument names the field that is out of its type's
// range.
absl::StatusOr<Graph> ParseGraph(absl::string_view bytes);

}  // namespace moai

#endif  // MOAI_GRAPH_SERIALIZE_H_
