// The meaning of the ops that are kept whole: each as a graph of primitives.
#ifndef MOAI_GRAPH_DECOMPOSE_H_
#define MOAI_GRAPH_DECOMPOSE_H_

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/builder.h"

namespace moai {

// True for ops that are defined by a decomposition.
bool HasDecomposition(Op op);

// Appends the decomposition of `node` to `builder`. `inputs` are values of that builder with the
// types the node had. Returns the values that stand for the node's outputs.
absl::StatusOr<absl::InlinedVector<ValueId, 3>> Decompose(const Node& node,
                                                          absl::Span<const ValueId> inputs,
                                                          absl::Span<const int64_t> extents,
                                                          GraphBuilder& builder);

}  // namespace moai

#endif  // MOAI_GRAPH_DECOMPOSE_H_
