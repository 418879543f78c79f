// What a worker says that it measured, as the planner uses it.
#ifndef MOAI_SERVER_MEASURED_NODE_H_
#define MOAI_SERVER_MEASURED_NODE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "proto/worker.pb.h"
#include "scheduler/cost/measured_device.h"

namespace moai {

// Null where the worker measured nothing. A worker may say anything: InvalidArgument names what no
// device or link can be.
absl::StatusOr<std::shared_ptr<const MeasuredNode>> MeasuredNodeOf(
    const proto::DeviceDescription& device, const proto::WorkerHello& hello);

}  // namespace moai

#endif  // MOAI_SERVER_MEASURED_NODE_H_
