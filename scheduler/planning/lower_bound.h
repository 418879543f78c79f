// The least time a step can take on so many devices, whatever the plan: what a report compares the
// chosen plan with.
#ifndef MOAI_SCHEDULER_PLANNING_LOWER_BOUND_H_
#define MOAI_SCHEDULER_PLANNING_LOWER_BOUND_H_

#include <cstdint>

#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/cost/topology.h"

namespace moai {

struct LowerBound {
  double seconds = 0;     // of the step: the sum of the following
  double arithmetic = 0;  // products, convolutions, attention at the device's best rate
  double other = 0;       // all other kernels, without their launches
  double host = 0;        // what the host adds to a step
};

// The graph's own work, without any recomputation, divided evenly over the devices: nothing is
// sent, nothing is done twice, no device waits, every product has the best shape. No plan that the
// search evaluates on this cluster is predicted to be faster. `types`: of every value.
LowerBound FindLowerBound(const Cluster& cluster, const Graph& graph,
                          absl::Span<const TensorType> types, int64_t devices);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_LOWER_BOUND_H_
