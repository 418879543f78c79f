// The ways in which one node may run along one mesh axis, derived from its index signature: what
// each operand must be there (Shard, Replicate, Partial), and what the results then are.
#ifndef MOAI_SCHEDULER_PARTITION_STRATEGY_H_
#define MOAI_SCHEDULER_PARTITION_STRATEGY_H_

#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "graph/signature.h"
#include "scheduler/partition/factors.h"
#include "scheduler/placement.h"

namespace moai {

enum class StrategyKind : uint8_t {
  kWhole,     // every device along the axis computes the same
  kSplit,     // an index is split: parallel, contracted or masked
  kCreate,    // the part of a tensor that is made from nothing but its position
  kPartial,   // a linear op of terms that are still to be summed gives such terms
  kMean,      // a mean as the sum of parts, each divided by the whole number of elements
  kExchange,  // an index is split, and the node sums over the devices by itself: not along time
};

// One node along one axis. Operand placements are in the order of the node's operands.
struct NodeStrategy {
  StrategyKind kind = StrategyKind::kWhole;
  // kSplit, kCreate, kMean, kExchange: what is split.
  FactorId factor = kNoFactor;
  absl::InlinedVector<AxisPlacement, 4> inputs;
  absl::InlinedVector<AxisPlacement, 3> outputs;

  bool whole() const { return kind == StrategyKind::kWhole; }
};

// Appends every strategy of a node, kWhole first. Thread-safe.
//
// What is more than the signature says, each with its reason:
//   * iota and random numbers know their position: a part is described by where it begins.
//   * tril and triu shift their diagonal.
//   * A table of embeddings that is split by rows gives zeros for rows elsewhere (a masked index),
//     and the gradient of one part of the rows needs no other.
//   * A mean is not Partial(sum) of means; it is one of sums that are divided by the whole count.
//   * Cross entropy, and its gradient, of a range of the classes (vocabulary_loss.h): the logits
//   are
//     the largest tensor of a language model.
//   * add, neg, reshape ... pass Partial(sum) on, so that several terms are reduced at once.
void ListStrategies(const Graph& graph, uint32_t node, absl::Span<const TensorType> types,
                    const IndexSignature& signature, const Factors& factors,
                    std::vector<NodeStrategy>& strategies);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_STRATEGY_H_
