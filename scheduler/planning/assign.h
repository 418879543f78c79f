// Chooses a strategy for every node along one mesh axis (or time), under a policy: which roles of
// factors are to be split there, in order of preference, and how state is to lie.
//
// Heavy nodes are split along the first role of the policy that they have. Light ones follow: each
// takes what moves the fewest bytes, given how its inputs lie by then. From this rule come the
// known schemes: with the batch, data parallelism; with heads and ffn, tensor parallelism; with a
// further role that only light nodes take, sequence parallelism; with the sequence before the
// heads, Ulysses; with experts, expert parallelism.
#ifndef MOAI_SCHEDULER_PLANNING_ASSIGN_H_
#define MOAI_SCHEDULER_PLANNING_ASSIGN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "scheduler/planning/graph_facts.h"

namespace moai {

// What of the optimizer's state is split along an axis (ZeRO, arXiv 1910.02054).
enum class StateSharding : uint8_t {
  kNone = 0,
  kOptimizer = 1,   // updates and their moments
  kGradients = 2,   // also gradients while they are summed over micro-batches
  kParameters = 3,  // also parameters: gathered where they are used
};

struct AxisPolicy {
  int64_t extent = 1;
  bool time = false;
  // Of time: terms are summed where they are made before they meet other terms. What several stages
  // of a pipeline make of one parameter then crosses a border once a step, not with every
  // micro-batch.
  bool sums_apart = false;
  std::vector<RoleId> roles;
  StateSharding state = StateSharding::kNone;
  // What other axes split: state is split along something else, where it has it. Axes that split
  // the same dim nest, and parts cannot be gathered along one of them without the others inside.
  std::vector<RoleId> taken;
};

struct AxisAssignment {
  std::vector<const NodeStrategy*> nodes;  // of the facts
  std::vector<AxisPlacement> inputs;       // by graph input
  std::vector<AxisPlacement> outputs;      // by graph output
};

// Thread-safe.
AxisAssignment AssignAxis(const GraphFacts& facts, const AxisPolicy& policy);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_ASSIGN_H_
