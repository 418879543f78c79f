// The executor's tickets: bulk bytes between clients and the objects of an ExecutorCore, over
// wire/transfer_server.h.
#ifndef MOAI_WORKER_EXECUTOR_EXECUTOR_TRANSFERS_H_
#define MOAI_WORKER_EXECUTOR_EXECUTOR_TRANSFERS_H_

#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "wire/transfer_server.h"
#include "worker/executor/command_runner.h"

namespace moai {

// Thread-safe.
class ExecutorTransfers : public BulkTransfers, public wire::TransferTarget {
 public:
  ExecutorTransfers();

  // What to serve on a StreamServer, which must end before this.
  wire::StreamServer::Methods Methods() { return server_.Methods(); }

  absl::Status OpenUpload(const proto::Ticket& ticket, Arrival arrival) override;
  absl::Status OpenDownload(const proto::Ticket& ticket, std::shared_ptr<Bytes> bytes,
                            std::shared_ptr<TransferGate> gate) override;
  void Close(absl::string_view ticket_id) override;

  absl::StatusOr<absl::Span<std::byte>> BeginUpload(const wire::Ticket& ticket) override;
  void EndUpload(const wire::Ticket& ticket, const absl::Status& status) override;
  absl::StatusOr<wire::ByteSource> BeginDownload(const wire::Ticket& ticket) override;
  void EndDownload(const wire::Ticket& ticket, const absl::Status& status) override;

 private:
  // Bytes that are being read. Whoever holds it may read them; the gate opens with the last holder.
  struct Reading {
    Reading(std::shared_ptr<Bytes> b, std::shared_ptr<TransferGate> g)
        : bytes(std::move(b)), gate(std::move(g)) {}
    ~Reading() { gate->Open(absl::OkStatus()); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

    const std::shared_ptr<Bytes> bytes;
    const std::shared_ptr<TransferGate> gate;
  };
  struct Upload {
    Arrival arrival;
    bool begun = false;  // the memory is in use until EndUpload
  };

  Mutex mutex_;
  // By ticket. Downloads stay until the client says that it has them: a connection that broke at
  // the end may be resumed.
  absl::flat_hash_map<std::string, Upload> uploads_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::shared_ptr<Reading>> downloads_ ABSL_GUARDED_BY(mutex_);
  wire::TransferServer server_;  // last: its end calls this
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_EXECUTOR_TRANSFERS_H_
