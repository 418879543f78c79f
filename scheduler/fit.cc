#include "scheduler/fit.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "scheduler/flavors.h"

namespace moai {
namespace {

std::string SmallestThatFits(int64_t needed, absl::Span<const DeviceProfile> others) {
  const DeviceProfile* smallest = nullptr;
  for (const DeviceProfile& other : others) {
    if (other.memory_bytes < needed) continue;
    if (smallest == nullptr || other.memory_bytes < smallest->memory_bytes) smallest = &other;
  }
  if (smallest == nullptr) return "";
  return absl::StrCat("; the smallest accelerator that fits is ",
                      StandardFlavorName(1, smallest->memory_bytes));
}

absl::Status Refusal(absl::string_view what, int64_t needed, absl::string_view causes, int64_t live,
                     int64_t memory, absl::Span<const DeviceProfile> others, DeviceOf device) {
  const std::string where =
      device.count == 1
          ? "the accelerator"
          : absl::StrCat("device ", device.device, " of the accelerator's ", device.count);
  const int64_t available = memory > live ? memory - live : 0;
  return absl::ResourceExhaustedError(
      absl::StrCat(what, " needs ", ReadableBytes(needed), " (", needed, " bytes", causes,
                   ") beside ", ReadableBytes(live), " of tensors that are alive; ", where, " has ",
                   ReadableBytes(memory), ", of which ", ReadableBytes(available), " (", available,
                   " bytes) are available", SmallestThatFits(needed + live, others)));
}

}  // namespace

absl::Status CheckFits(const StepMemory& step, int64_t live, int64_t memory,
                       absl::Span<const DeviceProfile> others, DeviceOf device) {
  if (step.total() <= memory - live) return absl::OkStatus();
  return Refusal("the step", step.total(),
                 absl::StrCat(": ", step.arena, " for temporaries, ", step.fresh, " for results"),
                 live, memory, others, device);
}

absl::Status CheckUploadFits(int64_t bytes, int64_t live, int64_t memory,
                             absl::Span<const DeviceProfile> others, DeviceOf device) {
  const int64_t needed = AllocatedBytes(bytes);
  if (needed <= memory - live) return absl::OkStatus();
  return Refusal("the tensor", needed, "", live, memory, others, device);
}

std::string ShortBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB", "PB"};
  double value = double(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 5; ++unit) value /= 1024;
  if (value == double(int64_t(value))) return absl::StrFormat("%d%s", int64_t(value), kUnits[unit]);
  return absl::StrFormat("%.1f%s", value, kUnits[unit]);
}

std::string ReadableBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = double(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 5; ++unit) value /= 1024;
  return unit == 0 ? absl::StrCat(bytes, " bytes")
                   : absl::StrFormat("%.2f %s", value, kUnits[unit]);
}

}  // namespace moai
