#include "scheduler/planning/micro_batch_barrier.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace moai {
namespace {

// By node of the graph: whether it runs in each micro-batch. What merely moves a value for it does
// not count, but where the node itself became other ops.
std::vector<bool> InMicroBatch(const Graph& graph, const PartitionedGraph& partitioned) {
  std::vector<bool> own(graph.nodes.size(), false), known(own), any(own);
  for (size_t part = 0; part < partitioned.parts.size(); ++part) {
    const Graph& divided = *partitioned.parts[part].graph;
    for (uint32_t node = 0; node < divided.nodes.size(); ++node) {
      const uint32_t source = partitioned.sources[part][node];
      if (source == PartitionedGraph::kNoSource) continue;
      const bool in_micro_batch = partitioned.turns[part][node] != NodeTurn::kOnce;
      const bool itself = divided.nodes[node].op == graph.nodes[source].op;
      any[source] = any[source] || in_micro_batch;
      known[source] = known[source] || itself;
      own[source] = own[source] || (itself && in_micro_batch);
    }
  }
  for (size_t i = 0; i < own.size(); ++i) own[i] = known[i] ? own[i] : any[i];
  return own;
}

}  // namespace

bool HasMicroBatchBarrier(const Graph& graph, const PartitionedGraph& partitioned) {
  const std::vector<bool> in_micro_batch = InMicroBatch(graph, partitioned);
  enum class MadeOf : uint8_t { kNoMicroBatch, kOne, kAll };
  std::vector<MadeOf> made_of(graph.values.size(), MadeOf::kNoMicroBatch);
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    MadeOf most = MadeOf::kNoMicroBatch;
    for (ValueId input : node.inputs) most = std::max(most, made_of[input]);
    if (in_micro_batch[i] && most == MadeOf::kAll) return true;
    if (in_micro_batch[i]) most = MadeOf::kOne;
    for (uint32_t k = 0; k < node.output_count; ++k) {
      const ValueId value = node.first_output + k;
      const bool all =
          partitioned.summed[value] || (!in_micro_batch[i] && most != MadeOf::kNoMicroBatch);
      made_of[value] = all ? MadeOf::kAll : most;
    }
  }
  return false;
}

}  // namespace moai
