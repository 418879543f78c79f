// The executor's end of bulk transfers: takes uploads straight into the memory that a target gives,
// and sends downloads from where the target's bytes lie. docs/protocol.md describes the streams.
#ifndef MOAI_WIRE_TRANSFER_SERVER_H_
#define MOAI_WIRE_TRANSFER_SERVER_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "wire/stream_server.h"
#include "wire/ticket_registry.h"

namespace moai::wire {

// Where bytes come from and go to. Calls come from the server's threads, several at once for
// different tickets; none may block for long.
class TransferTarget {
 public:
  virtual ~TransferTarget() = default;

  // Memory for all of the ticket's bytes, valid until EndUpload. Once per ticket.
  virtual absl::StatusOr<absl::Span<std::byte>> BeginUpload(const Ticket& ticket) = 0;
  // The upload is complete (OK), or will never be. Once per ticket for which BeginUpload succeeded.
  virtual void EndUpload(const Ticket& ticket, const absl::Status& status) = 0;

  // All of the ticket's bytes. Once per ticket.
  virtual absl::StatusOr<ByteSource> BeginDownload(const Ticket& ticket) = 0;
  // The bytes will not be asked for again: the client has them (OK), or the ticket expired. Streams
  // that still send them keep them alive by the source's owner.
  virtual void EndDownload(const Ticket& /*ticket*/, const absl::Status& /*status*/) {}
};

struct TransferServerOptions {
  // Use a shared memory segment where the client offers one.
  bool shared_memory = true;
};

class TransferServer {
 public:
  // The target must outlive this, and this the StreamServer that it serves on.
  explicit TransferServer(TransferTarget* target, const TransferServerOptions& options = {});
  // Ends what is unfinished with Cancelled.
  ~TransferServer();

  // The methods to serve on a StreamServer.
  StreamServer::Methods Methods();

  // Lets a client present `ticket`. Also forgets tickets that have expired.
  absl::Status AddTicket(Ticket ticket);
  // Forgets a ticket (the client is done, or its object is gone).
  void RemoveTicket(absl::string_view id);

  class Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_TRANSFER_SERVER_H_
