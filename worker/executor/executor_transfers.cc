#include "worker/executor/executor_transfers.h"

#include <utility>

namespace moai {
namespace {

wire::Ticket FromProto(const proto::Ticket& ticket) {
  return {.id = ticket.id(),
          .object = ticket.object(),
          .bytes = ticket.bytes(),
          .upload = ticket.upload(),
          .expires = std::chrono::seconds(ticket.expires_seconds())};
}

}  // namespace

ExecutorTransfers::ExecutorTransfers() : server_(this) {}

absl::Status ExecutorTransfers::OpenUpload(const proto::Ticket& ticket, Arrival arrival) {
  {
    MutexLock lock(mutex_);
    uploads_[ticket.id()] = {std::move(arrival)};
  }
  absl::Status status = server_.AddTicket(FromProto(ticket));
  if (!status.ok()) {
    MutexLock lock(mutex_);
    uploads_.erase(ticket.id());
  }
  return status;
}

absl::Status ExecutorTransfers::OpenDownload(const proto::Ticket& ticket,
                                             std::shared_ptr<Bytes> bytes,
                                             std::shared_ptr<TransferGate> gate) {
  {
    MutexLock lock(mutex_);
    downloads_[ticket.id()] = std::make_shared<Reading>(std::move(bytes), std::move(gate));
  }
  absl::Status status = server_.AddTicket(FromProto(ticket));
  if (!status.ok()) Close(ticket.id());
  return status;
}

void ExecutorTransfers::Close(absl::string_view ticket_id) {
  server_.RemoveTicket(ticket_id);
  Upload upload;
  std::shared_ptr<Reading> reading;  // both let go of after the lock
  MutexLock lock(mutex_);
  // Nobody will bring it any more. One that has begun ends through EndUpload.
  if (auto found = uploads_.find(ticket_id); found != uploads_.end() && !found->second.begun) {
    upload = std::move(found->second);
    uploads_.erase(found);
    upload.arrival.gate->Open(absl::CancelledError("the client gave the upload up"));
  }
  if (auto found = downloads_.find(ticket_id); found != downloads_.end()) {
    reading = std::move(found->second);
    downloads_.erase(found);
  }
}

absl::StatusOr<absl::Span<std::byte>> ExecutorTransfers::BeginUpload(const wire::Ticket& ticket) {
  MutexLock lock(mutex_);
  auto upload = uploads_.find(ticket.id);
  if (upload == uploads_.end()) return absl::NotFoundError("the upload's ticket has been closed");
  upload->second.begun = true;
  Bytes& bytes = *upload->second.arrival.bytes;
  return absl::MakeSpan(bytes.data(), size_t(bytes.size()));
}

void ExecutorTransfers::EndUpload(const wire::Ticket& ticket, const absl::Status& status) {
  Upload upload;
  MutexLock lock(mutex_);
  auto found = uploads_.find(ticket.id);
  if (found == uploads_.end()) return;
  upload = std::move(found->second);
  uploads_.erase(found);
  upload.arrival.gate->Open(status);
}

absl::StatusOr<wire::ByteSource> ExecutorTransfers::BeginDownload(const wire::Ticket& ticket) {
  MutexLock lock(mutex_);
  auto download = downloads_.find(ticket.id);
  if (download == downloads_.end()) return absl::NotFoundError("the read's ticket has been closed");
  const Bytes& bytes = *download->second->bytes;
  return wire::ByteSource{{bytes.data(), size_t(bytes.size())}, download->second};
}

void ExecutorTransfers::EndDownload(const wire::Ticket& ticket, const absl::Status& status) {
  if (status.ok()) return;
  std::shared_ptr<Reading> reading;  // let go of after the lock
  MutexLock lock(mutex_);
  auto found = downloads_.find(ticket.id);
  if (found == downloads_.end()) return;
  reading = std::move(found->second);
  downloads_.erase(found);
}

}  // namespace moai
