// The client's end of bulk transfers: sends bytes from where they lie, receives bytes to where they
// belong, and goes on where a broken connection stopped.
#ifndef MOAI_WIRE_TRANSFER_CLIENT_H_
#define MOAI_WIRE_TRANSFER_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "wire/ticket_registry.h"

namespace moai::wire {

struct TransferClientOptions {
  // Offer a shared memory segment to executors of this host.
  bool shared_memory = true;
  // Below this, setting it up costs more than it saves.
  uint64_t min_shared_memory_bytes = uint64_t{4} << 20;
};

struct TransferClientStats {
  uint64_t bytes_uploaded = 0;
  uint64_t bytes_downloaded = 0;
  uint64_t shared_memory_transfers = 0;
  uint64_t resumed = 0;  // connections after the first of a transfer
};

// Thread-safe. Owns one thread for streams and one for copies through shared memory.
class TransferClient {
 public:
  // Called once, on a thread of the client; must not block.
  using Done = std::function<void(const absl::Status&)>;

  explicit TransferClient(const TransferClientOptions& options = {});
  // Cancels what is unfinished.
  ~TransferClient();

  // Sends all of the ticket's bytes. InvalidArgument where `source` has another size.
  void Upload(const Ticket& ticket, ByteSource source, Done done);

  // Receives all of the ticket's bytes into `destination`, which must stay valid until `done`.
  void Download(const Ticket& ticket, absl::Span<std::byte> destination, Done done);

  TransferClientStats stats() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_TRANSFER_CLIENT_H_
