// A ring of slots in memory that two processes of one host share: the fast lane for bulk bytes. The
// sender copies a piece into a slot while the receiver copies the one before out of the next.
//
// The opener proves that it has the right segment by a secret inside. Counters in it are the peer's
// word, and are checked.
#ifndef MOAI_WIRE_SHARED_MEMORY_H_
#define MOAI_WIRE_SHARED_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "wire/host_memory.h"

namespace moai::wire {

class SharedSegment {
 public:
  static constexpr size_t kSlotBytes = 1 << 20;
  static constexpr uint32_t kSlots = 4;

  static absl::StatusOr<std::unique_ptr<SharedSegment>> Create();
  // Opens what a peer offers; `secret` must be what it was prepared with.
  static absl::StatusOr<std::unique_ptr<SharedSegment>> Open(absl::string_view name,
                                                             absl::string_view secret);
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  // Empties the ring for the next transfer. The secret has 16 bytes.
  void Prepare(absl::string_view secret);

  // For Open: "process/descriptor".
  const std::string& name() const { return memory_.name(); }

  // Copy all of `bytes` into the ring, or out of it. Return when the peer has taken or given
  // everything; Cancelled when `stop` becomes true, DeadlineExceeded when the peer does nothing for
  // ten seconds, Internal for counters that cannot be. `taken` is told the bytes received so far.
  absl::Status Send(absl::Span<const std::byte> bytes, const std::atomic<bool>& stop);
  absl::Status Receive(absl::Span<std::byte> bytes, const std::atomic<bool>& stop,
                       const std::function<void(size_t)>& taken);

 private:
  struct Ring;

  explicit SharedSegment(HostMemory memory);

  const HostMemory memory_;
  Ring* const ring_;
  std::byte* const slots_;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_SHARED_MEMORY_H_
