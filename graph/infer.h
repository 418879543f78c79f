// Shape and dtype inference, derived from the op table. Used by the client while it records (so it
// does not allocate on success) and, from scratch, by the server, which trusts nobody.
#ifndef MOAI_GRAPH_INFER_H_
#define MOAI_GRAPH_INFER_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// Infers the outputs of one node from its inputs' types and its extents.
// `outputs` has room for node.output_count types. Every violated rule of the op table is an
// InvalidArgument naming the op, the operand, what was expected and what came. Never reads out of
// bounds, whatever the node says. Thread-safe.
absl::Status InferNode(const Node& node, absl::Span<const TensorType> inputs,
                       absl::Span<const int64_t> extents, absl::Span<TensorType> outputs);

// Types of all values of a graph under a size vector. The graph's structure must have passed
// VerifyStructure (verify.h); sizes may come from a peer. Thread-safe.
absl::StatusOr<std::vector<TensorType>> InferGraph(const Graph& graph,
                                                   absl::Span<const int64_t> sizes);

}  // namespace moai

#endif  // MOAI_GRAPH_INFER_H_
