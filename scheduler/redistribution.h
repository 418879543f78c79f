// Brings a tensor from one layout on a session's devices to another.
#ifndef MOAI_SCHEDULER_REDISTRIBUTION_H_
#define MOAI_SCHEDULER_REDISTRIBUTION_H_

#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "program/device_graph.h"
#include "scheduler/placement.h"

namespace moai {

// What each device runs: a graph with one value binding, its part of the tensor under `from`, and
// one value output, its part under `to`. Both meshes have the session's devices. Unimplemented for
// layouts that nothing here connects yet.
absl::StatusOr<std::vector<DeviceGraph>> MakeRedistribution(const TensorType& type,
                                                            const Layout& from, const Layout& to);

}  // namespace moai

#endif  // MOAI_SCHEDULER_REDISTRIBUTION_H_
