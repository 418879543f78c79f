#include "scheduler/planning/evaluate.h"

#include <algorithm>

#include "base/status.h"
#include "graph/infer.h"
#include "scheduler/partition/pipeline_order.h"
#include "scheduler/planning/stage_sample.h"

namespace moai {

StepCost CostOfStages(const Cluster& cluster, absl::Span<const StageCost> stages,
                      const EvaluateOptions& options) {
  const int64_t count = int64_t(stages.size());
  StepCost total;
  double sum = 0, slowest = 0, once = 0, all_once = 0;
  for (int64_t stage = 0; stage < count; ++stage) {
    StageCost own = stages[size_t(stage)];
    sum += own.micro_batch;
    slowest = std::max(slowest, own.micro_batch);
    once = std::max(once, own.once);
    all_once += own.once;
    const int64_t chunks = count * options.virtual_stages;
    const int64_t all = options.micro_batches * options.virtual_stages;
    const int64_t in_flight = options.barrier ? all
                              : count == 1
                                  ? 1
                                  : std::min(all, MicroBatchesInFlight(count, chunks, stage));
    // What goes from the forward to the backward pass is there for each micro-batch on its way
    // through a chunk; for one through all chunks it is counted.
    const double extra = double(std::max<int64_t>(0, in_flight - options.virtual_stages));
    own.cost.temporaries += int64_t(
        std::max(own.most, own.loop + extra * own.crossing / double(options.virtual_stages)));
    total.compute = std::max(total.compute, own.cost.compute);
    total.communication = std::max(total.communication, own.cost.communication);
    total.flops = std::max(total.flops, own.cost.flops);
    total.sent_bytes = std::max(total.sent_bytes, own.cost.sent_bytes);
    if (own.cost.total_bytes() > total.total_bytes()) {
      total.state = own.cost.state;
      total.temporaries = own.cost.temporaries;
    }
  }
  const double v = double(options.virtual_stages);
  if (options.barrier) {
    total.seconds = double(options.micro_batches) * sum + all_once;
  } else if (options.micro_batches > 1) {
    total.seconds = double(options.micro_batches) * slowest + (sum - slowest) / v + once;
  } else {
    total.seconds = all_once;  // stages wait for each other
  }
  total.seconds += cluster.device.step_seconds;
  total.exposed = std::max(0.0, total.seconds - total.compute);
  return total;
}

absl::StatusOr<StepCost> Evaluate(const Cluster& cluster, const PartitionedGraph& partitioned,
                                  const EvaluateOptions& options) {
  std::vector<StageCost> stages;
  for (size_t i = 0; i < partitioned.parts.size(); ++i) {
    const DeviceGraph& part = partitioned.parts[i];
    std::vector<TensorType> inferred;
    if (partitioned.types.empty()) {
      MOAI_ASSIGN_OR_RETURN(inferred, InferGraph(*part.graph, part.sizes));
    }
    const auto& types = partitioned.types.empty() ? inferred : partitioned.types[i];
    stages.push_back(StageSample(cluster, partitioned, i, types, options).Cost());
  }
  return CostOfStages(cluster, stages, options);
}

}  // namespace moai
