// From a plan to what each device runs.
#ifndef MOAI_SCHEDULER_PARTITION_H_
#define MOAI_SCHEDULER_PARTITION_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/planner.h"

namespace moai {

// The part of one device.
struct DeviceGraph {
  size_t device = 0;  // position among the session's devices
  std::shared_ptr<const Graph> graph;
  Sizes sizes;
};

// Rewrites `graph` under `plan` into one graph a device. On one device that is the graph itself.
absl::StatusOr<std::vector<DeviceGraph>> Partition(const Plan& plan,
                                                   std::shared_ptr<const Graph> graph,
                                                   absl::Span<const int64_t> sizes);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_H_
