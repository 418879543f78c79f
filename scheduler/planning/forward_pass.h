// Where a training step turns from its forward to its backward pass, and where the forward pass is
// narrow: found from what is alive, without knowing layers or passes.
#ifndef MOAI_SCHEDULER_PLANNING_FORWARD_PASS_H_
#define MOAI_SCHEDULER_PLANNING_FORWARD_PASS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

struct ForwardPass {
  // The forward pass ends about there: of the nodes between the first and the last product with as
  // many weights as possible, the one during which most bytes are alive. (Bytes alone do not tell:
  // where a batch is small, gradients of weights outgrow what the forward pass kept.)
  uint32_t turn = 0;
  // Nodes up to the turn after which one large value alone is needed by the rest of the forward
  // pass: places where it may be cut. Ascending.
  std::vector<uint32_t> narrow;
  // By value: the one that is needed at some narrow place.
  std::vector<bool> narrow_value;
  // By value: depends on what comes with the step (feeds, values); others are state, tables.
  std::vector<bool> depends;
  // By value: too small to matter, against the largest that a node makes.
  std::vector<bool> small;
  std::vector<uint32_t> producer;  // by value: its node; UINT32_MAX for inputs
};

ForwardPass FindForwardPass(const Graph& graph, absl::Span<const TensorType> types);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_FORWARD_PASS_H_
