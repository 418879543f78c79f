// GPU types as their makers describe them: what a plan for a cluster that nobody has measured
// starts from. calibrate.h fits the constants that no data sheet states.
#ifndef MOAI_SCHEDULER_COST_GPU_TYPES_H_
#define MOAI_SCHEDULER_COST_GPU_TYPES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "scheduler/cost/device_model.h"

namespace moai {

// One GPU and what usually connects it. Bandwidths are bytes per second in one direction, of one
// GPU.
struct GpuType {
  DeviceModel device;
  double fast_bandwidth = 0;      // NVLink, Infinity Fabric; PCIe where there is neither
  double fast_efficiency = 0.75;  // share of it that collectives reach
  // How much faster than that an all_reduce is where switches add up (NVLink SHARP); 1: they do
  // not.
  double all_reduce_gain = 1;
  int fast_domain = 8;  // GPUs that usually share the fast links
  double network_bandwidth = 0;
};

absl::Span<const GpuType> GpuTypes();

// By name, without regard to case: "H100", "A100-40GB" ... NotFound names all that are known.
absl::StatusOr<const GpuType*> FindGpuType(absl::string_view name);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_GPU_TYPES_H_
