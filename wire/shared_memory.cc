#include "wire/shared_memory.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/spin_wait.h"
#include "base/status.h"
#include "wire/random_id.h"

namespace moai::wire {

// First page of a segment. Counters only grow, and wrap.
struct SharedSegment::Ring {
  alignas(64) std::atomic<uint32_t> produced;  // slots filled
  alignas(64) std::atomic<uint32_t> consumed;  // slots emptied
  alignas(64) char secret[kRandomIdBytes];
};

namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kSegmentBytes = kHeaderBytes + SharedSegment::kSlots * SharedSegment::kSlotBytes;
constexpr std::chrono::seconds kPatience(10);
// How soon a waiting side notices `stop`.
constexpr std::chrono::milliseconds kNap(20);

// Waits until `counter` is no longer `seen`.
absl::Status WaitForChange(std::atomic<uint32_t>& counter, uint32_t seen,
                           const std::atomic<bool>& stop) {
  for (SpinWait spin; counter.load(std::memory_order_acquire) == seen && spin.Again();) {
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (counter.load(std::memory_order_acquire) == seen) {
    if (stop.load()) return absl::CancelledError("shared memory: the stream has ended");
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError("shared memory: the peer does nothing");
    }
    WaitWhile(counter, seen, kNap);
  }
  return absl::OkStatus();
}

}  // namespace

SharedSegment::SharedSegment(HostMemory memory)
    : memory_(std::move(memory)),
      ring_(reinterpret_cast<Ring*>(memory_.data())),
      slots_(memory_.data() + kHeaderBytes) {}

absl::StatusOr<std::unique_ptr<SharedSegment>> SharedSegment::Create() {
  MOAI_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Create("moai-transfer", kSegmentBytes,
                                                              HostMemory::Pages::kNow));
  new (memory.data()) Ring{};
  return std::unique_ptr<SharedSegment>(new SharedSegment(std::move(memory)));
}

absl::StatusOr<std::unique_ptr<SharedSegment>> SharedSegment::Open(absl::string_view name,
                                                                   absl::string_view secret) {
  MOAI_ASSIGN_OR_RETURN(HostMemory memory,
                        HostMemory::Open(name, kSegmentBytes, HostMemory::Pages::kNow));
  std::unique_ptr<SharedSegment> segment(new SharedSegment(std::move(memory)));
  if (!EqualSecrets({segment->ring_->secret, kRandomIdBytes}, secret)) {
    return absl::PermissionDeniedError("shared memory: not the segment of this transfer");
  }
  return segment;
}

void SharedSegment::Prepare(absl::string_view secret) {
  ring_->produced.store(0);
  ring_->consumed.store(0);
  std::memcpy(ring_->secret, secret.data(), kRandomIdBytes);
}

absl::Status SharedSegment::Send(absl::Span<const std::byte> bytes, const std::atomic<bool>& stop) {
  uint32_t produced = 0;
  while (true) {
    const uint32_t consumed = ring_->consumed.load(std::memory_order_acquire);
    const uint32_t filled = produced - consumed;
    if (filled > kSlots) return absl::InternalError("shared memory: impossible counters");
    if (bytes.empty() && filled == 0) return absl::OkStatus();
    if (bytes.empty() || filled == kSlots) {
      MOAI_RETURN_IF_ERROR(WaitForChange(ring_->consumed, consumed, stop));
      continue;
    }
    const size_t size = std::min(bytes.size(), kSlotBytes);
    std::memcpy(slots_ + (produced % kSlots) * kSlotBytes, bytes.data(), size);
    bytes.remove_prefix(size);
    ring_->produced.store(++produced, std::memory_order_release);
    WakeWaiters(ring_->produced);
  }
}

absl::Status SharedSegment::Receive(absl::Span<std::byte> bytes, const std::atomic<bool>& stop,
                                    const std::function<void(size_t)>& taken) {
  uint32_t consumed = 0;
  size_t done = 0;
  while (done < bytes.size()) {
    const uint32_t produced = ring_->produced.load(std::memory_order_acquire);
    const uint32_t filled = produced - consumed;
    if (filled > kSlots) return absl::InternalError("shared memory: impossible counters");
    if (filled == 0) {
      MOAI_RETURN_IF_ERROR(WaitForChange(ring_->produced, produced, stop));
      continue;
    }
    const size_t size = std::min(bytes.size() - done, kSlotBytes);
    std::memcpy(bytes.data() + done, slots_ + (consumed % kSlots) * kSlotBytes, size);
    done += size;
    if (taken) taken(done);
    ring_->consumed.store(++consumed, std::memory_order_release);
    WakeWaiters(ring_->consumed);
  }
  return absl::OkStatus();
}

}  // namespace moai::wire
