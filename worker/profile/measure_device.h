// Measures what a device can do, with the kernels that sessions will run on it. Takes less than two
// seconds; a worker does it once, before it registers, and keeps the result in a file.
#ifndef MOAI_WORKER_PROFILE_MEASURE_DEVICE_H_
#define MOAI_WORKER_PROFILE_MEASURE_DEVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "program/device_profile.h"
#include "worker/kernels/kernel.h"

namespace moai {

struct MeasureOptions {
  // What is left to measure when this much time has passed is left out; the first product of each
  // dtype, streaming and launches come first.
  double seconds = 1.8;
  // For each figure, where two runs take less.
  double seconds_each = 0.03;
};

// Other devices of the machine should be idle meanwhile. Runs on a thread of its own: the caller's
// OpenMP settings stay as they are. Dtypes without a kernel are left out; an error where not even
// f32 can be multiplied.
absl::StatusOr<DeviceProfileMeasurement> MeasureDevice(KernelFactory factory,
                                                       const DeviceShape& device,
                                                       const MeasureOptions& options = {});

// The measurement that `directory` holds for this processor and number of threads, or a new one,
// which is then kept there if it is complete. A file that cannot be read or written costs a
// measurement, never an error. Several processes may share a directory.
absl::StatusOr<DeviceProfileMeasurement> LoadOrMeasureDevice(const std::string& directory,
                                                             KernelFactory factory,
                                                             const DeviceShape& device,
                                                             const MeasureOptions& options = {});

// "AMD EPYC 9355"; "unknown" where the system does not say.
std::string ProcessorName();

// As JSON. The reverse refuses what another version wrote, and rates that are not positive.
std::string ToJson(const DeviceProfileMeasurement& measurement);
absl::StatusOr<DeviceProfileMeasurement> DeviceProfileFromJson(absl::string_view json);

}  // namespace moai

#endif  // MOAI_WORKER_PROFILE_MEASURE_DEVICE_H_
