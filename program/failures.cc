#include "absl/container/flat_hash_map.h"
#include "program/passes.h"

namespace moai {
namespace {

// The operations of a model that repeat a check: the gradients of a lookup and of a loss.
bool Covers(const Lowering& lowering, const Operation& first, const Operation& second,
            Assumption& assumption) {
  const Graph& graph = *lowering.graph;
  if (second.op == Op::kEmbeddingGrad && first.op == Op::kEmbedding) {
    // Both check against the whole table; that of a node without a window is the table itself.
    const Node& lookup = graph.nodes[first.node];
    const Node& gradient = graph.nodes[second.node];
    assumption.extent = gradient.first_extent + gradient.extent_count - 1;
    if (lookup.extent_count != 0) {
      assumption.other = lookup.first_extent + lookup.extent_count - 1;
    } else {
      assumption.value = first.inputs[0].value;
    }
    return true;
  }
  return second.op == Op::kCrossEntropyGrad && first.op == Op::kCrossEntropy &&
         first.attributes[0] == second.attributes[0] &&
         lowering.shape_class[first.inputs[0].value] ==
             lowering.shape_class[second.inputs[0].value];
}

}  // namespace

void FindFailures(Lowering& lowering) {
  // Checked operations by the storage of their indices.
  absl::flat_hash_map<StorageId, std::vector<OperationId>> checks;
  for (OperationId id = 0; id < lowering.operations.size(); ++id) {
    Operation& operation = lowering.operations[id];
    if (!IsChecked(operation.op)) continue;
    operation.may_fail = true;
    // Indices are dense operands: equal storages hold equal numbers.
    const int indices = Entry(operation.op).checked_input;
    std::vector<OperationId>& earlier = checks[operation.inputs[indices].storage];
    for (OperationId other : earlier) {
      Assumption assumption;
      if (!Covers(lowering, lowering.operations[other], operation, assumption)) continue;
      operation.may_fail = false;
      if (operation.op == Op::kEmbeddingGrad) lowering.assumptions.push_back(assumption);
      break;
    }
    // Only those that are checked themselves cover others; few, so that the search stays short.
    if (operation.may_fail && earlier.size() < 16) earlier.push_back(id);
  }
}

}  // namespace moai
