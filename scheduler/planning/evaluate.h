// What a partitioned graph costs, predicted: time from kernels and collectives that overlap where
// data allows, memory from what is alive.
#ifndef MOAI_SCHEDULER_PLANNING_EVALUATE_H_
#define MOAI_SCHEDULER_PLANNING_EVALUATE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "program/device_graph.h"
#include "scheduler/cost/topology.h"
#include "scheduler/partition/partitioner.h"

namespace moai {

struct StepCost {
  double seconds = 0;        // of the step
  double compute = 0;        // seconds in which kernels run
  double communication = 0;  // seconds in which collectives run
  double exposed = 0;        // of those, in which no kernel runs
  double flops = 0;          // of this device
  double sent_bytes = 0;     // to other devices
  // Bytes at the worst moment.
  int64_t state = 0;        // slots
  int64_t temporaries = 0;  // everything else: a bound; the program's map is exact
  int64_t total_bytes() const { return state + temporaries; }
};

// Which collectives go on beside kernels that do not need their results.
enum class Overlap {
  kNone,  // one thread does both
  kSums,  // all_reduce; any other waits for those, and kernels wait for it
  kAll,
};

struct EvaluateOptions {
  Overlap overlap = Overlap::kAll;
  // How many micro-batches a sample stands for.
  int64_t micro_batches = 1;
  // Chunks of each pipeline stage.
  int64_t virtual_stages = 1;
  // Whether micro-batches wait for each other (micro_batch_barrier.h).
  bool barrier = false;
};

// A sample (PartitionRequest::sample) with one part for each pipeline stage, in their order.
absl::StatusOr<StepCost> Evaluate(const Cluster& cluster, const PartitionedGraph& partitioned,
                                  const EvaluateOptions& options);

struct StageCost;
// The step of all stages. Seconds are of the step, other figures of the device of which there is
// most.
//
// A pipeline takes sum_s t_s / v + (m - 1 / v) max_s t_s + exposed rest: t_s of one micro-batch on
// stage s, m micro-batches, v chunks a stage (cf. arXiv 2104.04473, 2.2). Where micro-batches wait
// for each other, so do stages: m sum_s t_s.
StepCost CostOfStages(const Cluster& cluster, absl::Span<const StageCost> stages,
                      const EvaluateOptions& options);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_EVALUATE_H_
