// From what a worker measured of a device to the planner's model of it.
#ifndef MOAI_SCHEDULER_COST_MEASURED_DEVICE_H_
#define MOAI_SCHEDULER_COST_MEASURED_DEVICE_H_

#include "absl/status/statusor.h"
#include "program/device_profile.h"
#include "scheduler/cost/device_model.h"

namespace moai {

// `memory_bytes`: what sessions may use of the device. Measured products become samples; a dtype
// without any runs as f32 does. The measurement comes from a worker and may be anything:
// InvalidArgument names the rate that is not positive, and an f32 product must be there.
absl::StatusOr<DeviceModel> DeviceFromMeasurement(const DeviceProfileMeasurement& measurement,
                                                  double memory_bytes);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_MEASURED_DEVICE_H_
