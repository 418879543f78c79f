// The cluster that a session's CPU devices make.
#ifndef MOAI_SCHEDULER_PLANNING_LOCAL_CLUSTER_H_
#define MOAI_SCHEDULER_PLANNING_LOCAL_CLUSTER_H_

#include "absl/types/span.h"
#include "scheduler/cost/topology.h"
#include "scheduler/pool.h"

namespace moai {

// Devices in the session's order: those of a worker stand together. Device and links are those that
// the workers measured, of the slowest device; where one has not been measured, the constants are
// those of one core of a recent server.
Cluster LocalCluster(absl::Span<const DeviceProfile> devices);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_LOCAL_CLUSTER_H_
