// The order in which the stages of a pipeline take turns.
#ifndef MOAI_SCHEDULER_PARTITION_PIPELINE_ORDER_H_
#define MOAI_SCHEDULER_PARTITION_PIPELINE_ORDER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/partition/partitioner.h"

namespace moai {

// A micro-batch goes through the chunks forward and comes back: legs 0 .. chunks - 1, then chunks
// .. 2 * chunks - 1, where leg l is of chunk 2 * chunks - 1 - l. Returns the nodes of each leg, in
// order. Internal where data goes back and forth more than once.
absl::StatusOr<std::vector<std::vector<uint32_t>>> LegsOf(const Graph& graph,
                                                          const PipelineCut& cut,
                                                          absl::Span<const uint32_t> nodes);

// One leg of one micro-batch.
struct PipelineItem {
  uint32_t leg = 0;
  int64_t micro_batch = 0;
};

// All items, such that each comes after what it depends on, and each stage runs them one forward,
// one backward, once its pipeline is full (1F1B, Narayanan et al., arXiv 2104.04473): a stage
// begins a forward leg only while fewer micro-batches are on their way through it than it takes to
// keep the stages behind it busy.
std::vector<PipelineItem> OrderPipeline(const PipelineCut& cut,
                                        const std::vector<std::vector<uint32_t>>& legs,
                                        int64_t micro_batches);

// How many micro-batches a stage holds activations of, at most.
int64_t MicroBatchesInFlight(int64_t stages, int64_t chunks, int64_t stage);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_PIPELINE_ORDER_H_
