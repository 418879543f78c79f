// Whether micro-batches wait for each other within a step.
#ifndef MOAI_SCHEDULER_PLANNING_MICRO_BATCH_BARRIER_H_
#define MOAI_SCHEDULER_PLANNING_MICRO_BATCH_BARRIER_H_

#include "graph/graph.h"
#include "scheduler/partition/partitioner.h"

namespace moai {

// Whether something that runs in each micro-batch needs what is made of all of them: statistics of
// the whole batch, or attention over a sequence that is divided in time. Then the stages of a
// pipeline cannot work on different micro-batches. `graph` is what was partitioned.
bool HasMicroBatchBarrier(const Graph& graph, const PartitionedGraph& partitioned);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_MICRO_BATCH_BARRIER_H_
