// Memory through which the devices of a session whose processes are all on one host send to each
// other. Every process has a segment, its inbox: a ring of bytes for each device of another process
// and each of its own, and a bell for each of its own.
//
// Set-up: each process opens, and its offer goes to the others with what else they need; each
// accepts theirs, which says in its own inbox whether it could; and once all have, each looks what
// the others said. So all come to the same answer, and use something else where it is no.
#ifndef MOAI_WORKER_COLLECTIVES_HOST_INBOXES_H_
#define MOAI_WORKER_COLLECTIVES_HOST_INBOXES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "wire/host_memory.h"

namespace moai {

// Wakes one device. It counts, so that a ring between a look and a wait is not missed.
struct Bell {
  alignas(64) std::atomic<uint32_t> rings;
  std::atomic<uint32_t> waits;  // 1 while the device waits, or is about to

  // Whatever the device waits for is there, and it is to look again. Any thread of any process.
  void Ring();
};

// How many bytes one device has put in for another, and how many of them were taken out. Each side
// writes one of the two: to the other it is the peer's word.
struct RingCounters {
  alignas(64) std::atomic<uint64_t> written;
  alignas(64) std::atomic<uint64_t> read;
};

struct ByteRing {
  RingCounters* counters = nullptr;
  std::byte* data = nullptr;
  uint64_t size = 0;  // a power of two
};

// Immutable once agreed; then thread-safe.
class HostInboxes {
 public:
  // Enough that neither side sleeps for each piece; what both copy at once stays in their caches.
  static constexpr uint64_t kMostRingBytes = 512 << 10;
  static constexpr uint64_t kLeastRingBytes = 4 << 10;

  // `process_of_rank` as in ProcessGroupOptions. A ring has `ring_bytes`, or less where there are
  // very many; the same on all processes. An error where the host does not share memory.
  static absl::StatusOr<std::unique_ptr<HostInboxes>> Open(
      uint32_t process, absl::Span<const uint32_t> process_of_rank,
      uint64_t ring_bytes = kMostRingBytes);

  // Names this process's inbox. Holds a secret.
  const std::string& offer() const { return offer_; }
  // Opens the inboxes that the others offer, by process; its own entry is not read. Before what
  // makes sure that all have been here.
  void Accept(absl::Span<const std::string> offers);
  // Whether every process could open every inbox.
  bool AllAccepted() const;

  uint32_t process_of(uint32_t rank) const { return process_of_rank_[rank]; }
  // For devices of different processes, by rank.
  ByteRing RingOf(uint32_t from, uint32_t to) const;
  Bell& BellOf(uint32_t rank) const;
  // All devices of this process.
  void RingOwnBells() const;

 private:
  struct Layout {
    size_t accepted = 0, bells = 0, counters = 0, rings = 0, bytes = 0;  // offsets, and the whole
    uint64_t ring_bytes = 0;
  };

  HostInboxes(uint32_t process, absl::Span<const uint32_t> process_of_rank, uint64_t ring_bytes);
  Layout LayoutOf(uint32_t process) const;
  bool AcceptOne(uint32_t process, absl::string_view offer);
  std::atomic<uint32_t>& Accepted(uint32_t process) const;

  const uint32_t process_;
  const uint64_t most_ring_bytes_;
  const std::vector<uint32_t> process_of_rank_;
  std::vector<uint32_t> position_of_rank_;  // among the devices of its process
  std::vector<uint32_t> devices_;           // how many each process has
  std::vector<wire::HostMemory> inboxes_;   // by process
  std::string offer_;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_HOST_INBOXES_H_
