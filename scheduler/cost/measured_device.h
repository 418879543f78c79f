// From what a worker measured of a device and of links to the planner's model of them.
#ifndef MOAI_SCHEDULER_COST_MEASURED_DEVICE_H_
#define MOAI_SCHEDULER_COST_MEASURED_DEVICE_H_

#include "absl/status/statusor.h"
#include "program/device_profile.h"
#include "scheduler/cost/device_model.h"
#include "scheduler/cost/topology.h"

namespace moai {

// Of one kind of a worker's devices.
struct MeasuredNode {
  DeviceModel device;
  // Their `devices` is for whoever joins devices by them.
  LinkLevel process;  // between devices of one process
  LinkLevel host;     // between processes of one host
  LinkLevel network;  // between processes otherwise
};

// `memory_bytes`: what sessions may use of the device. Measured products become samples; a dtype
// without any runs as f32 does. The measurement comes from a worker and may be anything:
// InvalidArgument names the rate that is not positive, and an f32 product must be there.
absl::StatusOr<DeviceModel> DeviceFromMeasurement(const DeviceProfileMeasurement& measurement,
                                                  double memory_bytes);

// The same of links. InvalidArgument names the rate that is not positive.
absl::StatusOr<MeasuredNode> NodeFromMeasurement(const DeviceProfileMeasurement& device,
                                                 const LinksMeasurement& links,
                                                 double memory_bytes);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_MEASURED_DEVICE_H_
