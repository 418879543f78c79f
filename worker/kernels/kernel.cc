#include "worker/kernels/kernel.h"

#include <thread>

namespace moai {

void StepErrors::RaiseIndexOutOfRange(uint32_t instruction, int64_t value, int64_t limit) {
  // Errors are rare and hold the lock for a few stores, so waiting threads only yield.
  while (lock_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
  const bool first = !raised_.load(std::memory_order_relaxed);
  // Among equal instructions the smallest value wins: the message does not depend on timing.
  if (first || instruction < instruction_ || (instruction == instruction_ && value < value_)) {
    instruction_ = instruction;
    value_ = value;
    limit_ = limit;
  }
  raised_.store(true, std::memory_order_release);
  lock_.store(false, std::memory_order_release);
}

uint32_t StepErrors::instruction() const { return instruction_; }
int64_t StepErrors::value() const { return value_; }
int64_t StepErrors::limit() const { return limit_; }

void StepErrors::Clear() {
  instruction_ = 0;
  value_ = 0;
  limit_ = 0;
  raised_.store(false, std::memory_order_release);
}

}  // namespace moai
