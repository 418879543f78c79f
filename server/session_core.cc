#include "server/session_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "program/allocation.h"
#include "scheduler/fit.h"
#include "server/object_type.h"
#include "wire/random_id.h"
#include "wire/status_proto.h"

namespace moai {

SessionCore::SessionCore(SessionSettings settings, Planner* planner, DeviceSink* device,
                         ClientSink* client)
    : settings_(std::move(settings)),
      device_(device),
      client_(client),
      registry_(
          planner, settings_.devices, settings_.larger,
          [this](const LoadedParts& parts) { Unload(parts); }, settings_.limits.registry),
      layouts_(settings_.devices.size()),
      objects_(&layouts_),
      redistributions_(settings_.devices, [this](const LoadedParts& parts) { Unload(parts); }),
      planner_(planner),
      regions_([this](const LoadedParts& parts) { Unload(parts); }),
      arena_bytes_(settings_.devices.size()),
      progress_(executor_count()) {}

absl::Status SessionCore::OnClientMessage(proto::ClientMessage& message) {
  if (commands_in_flight_ >= settings_.limits.max_commands_in_flight ||
      bytes_in_flight_ >= settings_.limits.max_bytes_in_flight) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the client has run ", commands_in_flight_, " commands of ", bytes_in_flight_,
        " bytes ahead of the accelerator; allowed are ", settings_.limits.max_commands_in_flight,
        " of ", settings_.limits.max_bytes_in_flight, " bytes"));
  }
  if (BeforeMessage(message)) return absl::OkStatus();
  switch (message.kind_case()) {
    case proto::ClientMessage::kStep:
      return OnStep(*message.mutable_step());
    case proto::ClientMessage::kRead:
      return OnRead(message.read());
    case proto::ClientMessage::kRelease:
      return OnRelease(message.release());
    case proto::ClientMessage::kRegisterGraph:
      return OnRegisterGraph(message.register_graph());
    case proto::ClientMessage::kUpload:
      return OnUpload(*message.mutable_upload());
    case proto::ClientMessage::kSynchronize:
      return OnSynchronize(message.synchronize());
    case proto::ClientMessage::kTransferDone:
      return OnTransferDone(message.transfer_done());
    case proto::ClientMessage::kClose:
      closed_ = true;
      return absl::OkStatus();
    case proto::ClientMessage::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("message: its kind is not set or not known to this server");
}

void SessionCore::Flush() {
  ReportSteps();
  device_->Flush();
  client_->Flush();
}

void SessionCore::MemoryInUse(std::vector<int64_t>& by_device) const {
  by_device.resize(settings_.devices.size());
  for (size_t device = 0; device < by_device.size(); ++device) {
    const int64_t live = objects_.live_bytes(device);
    // The space for temporaries stays from step to step, and gives way to tensors.
    const int64_t room = std::max<int64_t>(0, settings_.devices[device].memory_bytes - live);
    by_device[device] = live + std::min(arena_bytes_[device], room);
  }
}

void SessionCore::SendToDevices(const proto::ExecutorCommand& command) {
  if (!executor_lost_.ok()) return;
  const bool own = command.has_rename() || (command.has_execute() && command.execute().step() == 0);
  const size_t bytes = device_->Send(command);
  CountCommand(own ? 0 : bytes);
}

void SessionCore::CountCommand(size_t bytes) {
  in_flight_.push_back(uint32_t(bytes));
  commands_in_flight_ += bytes > 0 ? 1 : 0;
  bytes_in_flight_ += bytes;
}

absl::Status SessionCore::OnRegisterGraph(const proto::RegisterGraph& message) {
  const Fingerprint fingerprint{message.fingerprint_high(), message.fingerprint_low()};
  return registry_.Register(fingerprint, message.graph()).status();
}

absl::Status SessionCore::OnRelease(const proto::Release& release) {
  for (const proto::IdRange& range : release.ids())
    objects_.EraseRange(range.first(), range.count());
  command_.Clear();
  *command_.mutable_release() = release;
  SendToDevices(command_);
  return absl::OkStatus();
}

absl::Status SessionCore::UnknownId(uint64_t id) const {
  auto lost = lost_outputs_.upper_bound(id);
  if (lost != lost_outputs_.begin()) return std::prev(lost)->second;
  return absl::NotFoundError(absl::StrCat("id ", id, " names no value or slot of this session"));
}

absl::Status SessionCore::OnRead(const proto::Read& read) {
  const uint64_t request = read.request();
  if (reads_.contains(request)) {
    return absl::InvalidArgumentError(
        absl::StrCat("read.request: ", request, " has not been answered yet"));
  }
  if (reads_.size() >= settings_.limits.max_requests_in_flight) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "read: ", reads_.size(), " reads wait for their answers; no more are allowed"));
  }
  absl::Status status = executor_lost_;
  const SessionObject* object = objects_.Find(read.id());
  if (status.ok()) status = object == nullptr ? UnknownId(read.id()) : object->poison;
  if (!status.ok()) {
    SendReadError(request, status);
    return absl::OkStatus();
  }
  if (previous_.graph != nullptr) previous_.read.insert(read.id());
  PendingRead pending{object->type, {}};
  // The first device answers, from a copy where it does not have all of the tensor.
  uint64_t id = read.id();
  if (!HoldsAll(layouts_[object->layout], pending.type.shape, 0)) {
    auto copy = CopyAs(id, ReplicatedLayout(settings_.devices.size()));
    if (!copy.ok()) {
      SendReadError(request, copy.status());
      return absl::OkStatus();
    }
    id = *copy;
  }
  command_.Clear();
  proto::ExecutorRead* command = command_.mutable_read();
  command->set_request(request);
  command->set_id(id);
  const bool streamed = pending.type.bytes() > kMaxInlineBytes;
  if (streamed) {
    pending.ticket = NewTicket(read.id(), pending.type.bytes(), /*upload=*/false);
    *command->mutable_ticket() = pending.ticket;
  }
  SendToDevices(command_);
  if (id != read.id()) {
    if (streamed) {
      copies_[pending.ticket.id()] = id;
    } else {
      ReleaseObject(id);
    }
  }
  reads_.emplace(request, std::move(pending));
  return absl::OkStatus();
}

absl::Status SessionCore::OnUpload(proto::Upload& upload) {
  MOAI_ASSIGN_OR_RETURN(const TensorType type,
                        TypeFromProto("upload", upload.dtype(), upload.shape()));
  if (upload.id() == 0 || upload.id() >= kFirstOwnId || objects_.Contains(upload.id())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "upload.id: ", upload.id(), objects_.Contains(upload.id()) ? " exists" : " is no id"));
  }
  if (!objects_.HasRoomFor(1)) {
    return absl::ResourceExhaustedError(absl::StrCat("upload.id: the session has ", objects_.size(),
                                                     " values; no more are allowed"));
  }
  const int64_t inline_bytes = int64_t(upload.inline_bytes().size());
  const bool streamed = inline_bytes == 0 && type.bytes() > 0;
  if (!streamed && inline_bytes != type.bytes()) {
    return absl::InvalidArgumentError(absl::StrCat("upload.inline_bytes: ", inline_bytes, " came, ",
                                                   ToString(type), " has ", type.bytes()));
  }
  absl::Status status = executor_lost_;
  if (status.ok()) {
    status =
        CheckUploadFits(type.bytes(), objects_.live_bytes(0), settings_.devices[0].memory_bytes,
                        settings_.flavors, {.device = 0, .count = settings_.devices.size()});
  }
  if (!status.ok()) {
    objects_.PutPoisoned(upload.id(), status);
    first_refusal_.Update(status);
    if (streamed) SendUploadGrant(upload.id(), status, nullptr);
    return absl::OkStatus();
  }
  objects_.Put(upload.id(), type);
  command_.Clear();
  proto::ExecutorUpload* command = command_.mutable_upload();
  command->set_id(upload.id());
  command->set_dtype(upload.dtype());
  *command->mutable_shape() = upload.shape();
  if (streamed) {
    proto::Ticket ticket = NewTicket(upload.id(), type.bytes(), /*upload=*/true);
    *command->mutable_ticket() = ticket;
    uploads_[upload.id()] = std::move(ticket);
  } else {
    command->set_inline_bytes(std::move(*upload.mutable_inline_bytes()));
  }
  // The bytes are for the first device, in the first executor.
  const size_t bytes = device_->SendTo(0, command_);
  command->clear_inline_bytes();
  command->clear_ticket();
  for (size_t i = 1; i < executor_count(); ++i) device_->SendTo(i, command_);
  CountCommand(bytes);
  return absl::OkStatus();
}

absl::Status SessionCore::OnSynchronize(const proto::Synchronize& synchronize) {
  if (synchronizations_.size() >= settings_.limits.max_requests_in_flight ||
      synchronizations_.contains(synchronize.request())) {
    return absl::InvalidArgumentError(absl::StrCat("synchronize.request: ", synchronize.request(),
                                                   " is in use, or too many are"));
  }
  absl::Status refusal = std::exchange(first_refusal_, absl::OkStatus());
  if (!executor_lost_.ok()) {
    answer_.Clear();
    proto::SynchronizeResult* result = answer_.mutable_synchronize_result();
    result->set_request(synchronize.request());
    *result->mutable_status() = wire::ToProto(executor_lost_);
    client_->Send(answer_);
    return absl::OkStatus();
  }
  synchronizations_[synchronize.request()].refusal = std::move(refusal);
  command_.Clear();
  *command_.mutable_synchronize() = synchronize;
  SendToDevices(command_);
  return absl::OkStatus();
}

absl::Status SessionCore::OnTransferDone(const proto::TransferDone& done) {
  if (done.ticket_id().size() != wire::kRandomIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat("transfer_done.ticket_id: has ",
                                                   done.ticket_id().size(), " bytes, not ",
                                                   wire::kRandomIdBytes));
  }
  command_.Clear();
  command_.mutable_close_ticket()->set_ticket_id(done.ticket_id());
  SendToDevices(command_);
  if (auto copy = copies_.find(done.ticket_id()); copy != copies_.end()) {
    ReleaseObject(copy->second);
    copies_.erase(copy);
  }
  return absl::OkStatus();
}

proto::Ticket SessionCore::NewTicket(uint64_t object, int64_t bytes, bool upload) const {
  proto::Ticket ticket;
  ticket.set_id(wire::NewRandomId());
  ticket.set_object(object);
  ticket.set_bytes(uint64_t(bytes));
  ticket.set_expires_seconds(settings_.limits.ticket_seconds);
  ticket.set_upload(upload);
  return ticket;
}

void SessionCore::SendReadError(uint64_t request, const absl::Status& status) {
  answer_.Clear();
  proto::ReadResult* result = answer_.mutable_read_result();
  result->set_request(request);
  *result->mutable_status() = wire::ToProto(status);
  client_->Send(answer_);
}

void SessionCore::SendUploadGrant(uint64_t id, const absl::Status& status,
                                  const proto::Ticket* ticket) {
  answer_.Clear();
  proto::UploadGrant* grant = answer_.mutable_upload_grant();
  grant->set_id(id);
  if (!status.ok()) *grant->mutable_status() = wire::ToProto(status);
  if (ticket != nullptr) {
    *grant->mutable_ticket() = *ticket;
    for (const std::string& address : transfer_addresses_) {
      grant->mutable_ticket()->add_addresses(address);
    }
  }
  client_->Send(answer_);
}

void SessionCore::ReportSteps() {
  const bool caught_up = done_step_ >= last_forwarded_ || !executor_lost_.ok();
  const uint64_t done = caught_up ? last_step_ : done_step_;
  if (done == reported_step_) return;
  reported_step_ = done;
  answer_.Clear();
  answer_.mutable_steps_done()->set_step(done);
  client_->Send(answer_);
}

absl::Status SessionCore::OnExecutorEvent(size_t executor, proto::ExecutorEvent& event) {
  switch (event.kind_case()) {
    case proto::ExecutorEvent::kCommandsDone:
      return OnCommandsDone(executor, event.commands_done());
    case proto::ExecutorEvent::kReadResult:
      return OnReadResult(*event.mutable_read_result());
    case proto::ExecutorEvent::kSynchronizeResult:
      return OnSynchronizeResult(event.synchronize_result());
    case proto::ExecutorEvent::kUploadOpened:
      return OnUploadOpened(event.upload_opened());
    case proto::ExecutorEvent::kFailed: {
      const absl::Status why = wire::FromProto(event.failed().status());
      return absl::UnavailableError(absl::StrCat("executor ", executor, " of this session's ",
                                                 executor_count(),
                                                 " cannot go on: ", why.message()));
    }
    case proto::ExecutorEvent::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("executor event: its kind is not set or not known");
}

absl::Status SessionCore::OnCommandsDone(size_t executor, const proto::CommandsDone& done) {
  Progress& progress = progress_[executor];
  if (done.commands() < progress.commands || done.commands() > commands_done_ + in_flight_.size() ||
      done.step() > last_forwarded_) {
    return absl::InvalidArgumentError(absl::StrCat("commands_done: ", done.commands(),
                                                   " commands up to step ", done.step(),
                                                   ", which were not sent"));
  }
  progress = {done.commands(), std::max(progress.step, done.step())};
  const Progress& slowest =
      *std::min_element(progress_.begin(), progress_.end(),
                        [](const auto& a, const auto& b) { return a.commands < b.commands; });
  for (; commands_done_ < slowest.commands; ++commands_done_) {
    bytes_in_flight_ -= in_flight_.front();
    commands_in_flight_ -= in_flight_.front() > 0 ? 1 : 0;
    in_flight_.pop_front();
  }
  done_step_ = std::max(done_step_, slowest.step);
  return absl::OkStatus();
}

absl::Status SessionCore::OnReadResult(proto::ReadResult& result) {
  auto pending = reads_.find(result.request());
  if (pending == reads_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("read_result.request: ", result.request(), " was not asked for"));
  }
  answer_.Clear();
  proto::ReadResult* answer = answer_.mutable_read_result();
  answer->Swap(&result);
  const TensorType& type = pending->second.type;
  answer->set_dtype(uint32_t(type.dtype));
  answer->clear_shape();
  for (int64_t extent : type.shape) answer->add_shape(extent);
  if (answer->status().code() == 0 && !pending->second.ticket.id().empty()) {
    *answer->mutable_ticket() = std::move(pending->second.ticket);
    for (const std::string& address : transfer_addresses_) {
      answer->mutable_ticket()->add_addresses(address);
    }
  }
  reads_.erase(pending);
  client_->Send(answer_);
  return absl::OkStatus();
}

absl::Status SessionCore::OnUploadOpened(const proto::UploadOpened& opened) {
  auto pending = uploads_.find(opened.id());
  if (pending == uploads_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("upload_opened.id: ", opened.id(), " does not wait"));
  }
  SendUploadGrant(opened.id(), wire::FromProto(opened.status()), &pending->second);
  uploads_.erase(pending);
  return absl::OkStatus();
}

absl::Status SessionCore::OnSynchronizeResult(const proto::SynchronizeResult& result) {
  auto pending = synchronizations_.find(result.request());
  if (pending == synchronizations_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("synchronize_result.request: ", result.request(), " was not asked for"));
  }
  PendingSynchronization& waiting = pending->second;
  proto::SynchronizeResult& all = waiting.result;
  all.set_request(result.request());
  // Devices agree about what failed.
  if (all.status().code() == 0 && result.status().code() != 0) {
    *all.mutable_status() = result.status();
  }
  all.set_device_bytes_in_use(std::max(all.device_bytes_in_use(), result.device_bytes_in_use()));
  all.set_device_bytes_peak(std::max(all.device_bytes_peak(), result.device_bytes_peak()));
  if (++waiting.answers < executor_count()) return absl::OkStatus();
  ReportSteps();  // the steps before it come first
  answer_.Clear();
  proto::SynchronizeResult* answer = answer_.mutable_synchronize_result();
  answer->Swap(&all);
  if (answer->status().code() == 0 && !waiting.refusal.ok()) {
    *answer->mutable_status() = wire::ToProto(waiting.refusal);
  }
  synchronizations_.erase(pending);
  client_->Send(answer_);
  return absl::OkStatus();
}

void SessionCore::OnExecutorReady(std::vector<std::string> transfer_addresses) {
  transfer_addresses_ = std::move(transfer_addresses);
}

void SessionCore::OnExecutorLost(const absl::Status& why) {
  if (!executor_lost_.ok()) return;
  executor_lost_ = why;
  for (const auto& [request, pending] : reads_) SendReadError(request, why);
  for (const auto& [id, ticket] : uploads_) SendUploadGrant(id, why, nullptr);
  for (const auto& [request, pending] : synchronizations_) {
    answer_.Clear();
    answer_.mutable_synchronize_result()->set_request(request);
    *answer_.mutable_synchronize_result()->mutable_status() = wire::ToProto(why);
    client_->Send(answer_);
  }
  reads_.clear();
  uploads_.clear();
  synchronizations_.clear();
  in_flight_.clear();
  commands_in_flight_ = 0;
  bytes_in_flight_ = 0;
  answer_.Clear();
  answer_.mutable_notice()->set_level(proto::Notice::ERROR);
  answer_.mutable_notice()->set_text(std::string(why.message()));
  client_->Send(answer_);
}

}  // namespace moai
