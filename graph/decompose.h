// The meaning of the ops that are kept whole: each as a graph of primitives.
#ifndef MOAI_GRAPH_DECOMPOSE_H_
#define MOAI_GRAPH_DECOMPOSE_H_

#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/builder.h"

namespace moai {

// True for ops that are defined by a decomposition.
bool HasDecomposition(Op op);

struct Decomposition {
  // A number that the decomposition needs: a scalar input, in the order in which the decomposition
  // appended them, and what it must be bound to.
  struct Constant {
    ValueId value = 0;
    double number = 0;
  };

  absl::InlinedVector<ValueId, 3> outputs;  // stand for the node's outputs
  std::vector<Constant> constants;
};

// Appends the decomposition of `node` to `builder`: primitives only, and scalar inputs for its
// constants. `inputs` are values of that builder with the types the node had; InferNode must accept
// the node. 16-bit floats are computed in f32 and rounded once, at the end.
// Unimplemented for an op without a decomposition.
absl::StatusOr<Decomposition> Decompose(const Node& node, absl::Span<const ValueId> inputs,
                                        absl::Span<const int64_t> extents, GraphBuilder& builder);

}  // namespace moai

#endif  // MOAI_GRAPH_DECOMPOSE_H_
