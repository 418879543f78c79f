// Which bulk bytes a data stream may carry. A ticket is issued by the server, put into the registry
// of the executor that holds the bytes, and presented by the client; it names one object, its size
// and a direction, and expires.
//
// A ticket may be presented again after a broken connection, to go on where the last one stopped;
// the latest presentation is the one in force.
#ifndef MOAI_WIRE_TICKET_REGISTRY_H_
#define MOAI_WIRE_TICKET_REGISTRY_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace moai::wire {

// proto/transfer.proto's Ticket as a plain struct.
struct Ticket {
  std::string id;  // 16 random bytes, a secret
  uint64_t object = 0;
  uint64_t bytes = 0;
  bool upload = false;
  std::chrono::seconds expires = std::chrono::seconds(60);  // from now
  std::vector<std::string>
      addresses;  // where the executor listens, best first; for the client only
};

// Bytes that stay unchanged and alive for as long as `owner` does.
struct ByteSource {
  absl::Span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

// The state of one ticket's transfer, shared by its registry and the streams that present it.
struct TicketState {
  explicit TicketState(Ticket t) : ticket(std::move(t)) {}

  const Ticket ticket;
  const std::chrono::steady_clock::time_point deadline =
      std::chrono::steady_clock::now() + ticket.expires;

  Mutex mutex;
  // Counts presentations: a stream that is not the latest must not touch the bytes.
  uint64_t presentation ABSL_GUARDED_BY(mutex) = 0;
  bool begun ABSL_GUARDED_BY(mutex) = false;  // the target has given the memory
  bool ended ABSL_GUARDED_BY(mutex) = false;  // the target has been told the end
  // A thread is copying into the destination without the lock: the end has to wait for it.
  bool copying ABSL_GUARDED_BY(mutex) = false;
  bool abandoned ABSL_GUARDED_BY(mutex) = false;  // to be ended when the copy stops
  uint64_t taken ABSL_GUARDED_BY(mutex) = 0;      // bytes of an upload from the start of the object
  absl::Span<std::byte> destination ABSL_GUARDED_BY(mutex);
  ByteSource source ABSL_GUARDED_BY(mutex);
};

// Thread-safe.
class TicketRegistry {
 public:
  // More tickets at once than any well-behaved session has.
  static constexpr size_t kMaxTickets = 65536;

  // AlreadyExists, InvalidArgument for an id of the wrong length, ResourceExhausted over the limit.
  absl::Status Add(Ticket ticket);

  // The ticket a peer presents. NotFound tells a guesser nothing: it is the same for ids that never
  // were, have expired, or are for the other direction.
  absl::StatusOr<std::shared_ptr<TicketState>> Present(absl::string_view id, bool upload);

  // Forgets a ticket; returns its state, or null.
  std::shared_ptr<TicketState> Remove(absl::string_view id);

  // Takes out the tickets that have expired.
  std::vector<std::shared_ptr<TicketState>> TakeExpired();
  // Takes out all.
  std::vector<std::shared_ptr<TicketState>> TakeAll();

  size_t size() const;

 private:
  // Half of the id finds the entry, and may leak through timing; the other half is compared in
  // constant time, and is the secret.
  using Key = uint64_t;

  mutable Mutex mutex_;
  absl::flat_hash_map<Key, std::shared_ptr<TicketState>> tickets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_TICKET_REGISTRY_H_
