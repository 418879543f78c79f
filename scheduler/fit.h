// What "fits" means, and how a refusal is told.
#ifndef MOAI_SCHEDULER_FIT_H_
#define MOAI_SCHEDULER_FIT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "program/allocation.h"
#include "scheduler/pool.h"

namespace moai {

// One device of an accelerator; words of a refusal name it where there are others.
struct DeviceOf {
  size_t device = 0;
  size_t count = 1;
};

// OK if a step fits beside `live` bytes of tensors on a device of `memory` bytes. Otherwise
// ResourceExhausted with the needed and the available bytes, by cause, and the smallest of `others`
// that would do.
absl::Status CheckFits(const StepMemory& step, int64_t live, int64_t memory,
                       absl::Span<const DeviceProfile> others = {}, DeviceOf device = {});

// The same for a tensor of `bytes` bytes that a client is about to send.
absl::Status CheckUploadFits(int64_t bytes, int64_t live, int64_t memory,
                             absl::Span<const DeviceProfile> others = {}, DeviceOf device = {});

// "4GB", "512MB", "1.5GB": powers of 1024, at most one decimal; for names.
std::string ShortBytes(int64_t bytes);
// "1.50 GiB": for sentences.
std::string ReadableBytes(int64_t bytes);

}  // namespace moai

#endif  // MOAI_SCHEDULER_FIT_H_
