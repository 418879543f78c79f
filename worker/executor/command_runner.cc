#include "worker/executor/command_runner.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "spdlog/spdlog.h"
#include "wire/status_proto.h"

namespace moai {
namespace {

using std::chrono::steady_clock;

void TakeRanges(const google::protobuf::RepeatedPtrField<proto::IdRange>& from,
                std::vector<ObjectRange>& to) {
  to.clear();
  for (const proto::IdRange& range : from) to.push_back({range.first(), range.count()});
}

// Reads are answered early among so many commands after a step, none longer than this: the next
// step is not parsed twice.
constexpr size_t kMostEarly = 8;
constexpr size_t kMostEarlyBytes = 64;

steady_clock::time_point ExpiryOf(const proto::Ticket& ticket) {
  return steady_clock::now() + std::chrono::seconds(ticket.expires_seconds());
}

}  // namespace

CommandRunner::CommandRunner(const ExecutorOptions& options, StructureStore* structures,
                             BulkTransfers* transfers, EventSink* events, DevicePosition position)
    : core_(options),
      position_(position),
      structures_(structures),
      transfers_(transfers),
      events_(events) {}

absl::Status CommandRunner::Run(absl::string_view bytes, const PeekCommand& peek) {
  if (!command_.ParseFromArray(bytes.data(), int(bytes.size()))) {
    return absl::InvalidArgumentError("executor command: cannot be parsed");
  }
  absl::Status status;
  switch (command_.kind_case()) {
    case proto::ExecutorCommand::kExecute:
      status = RunExecute(command_.execute(), peek);
      break;
    case proto::ExecutorCommand::kRelease:
      for (const proto::IdRange& range : command_.release().ids()) {
        core_.Release({range.first(), range.count()});
      }
      break;
    case proto::ExecutorCommand::kRead:
      if (std::erase(answered_early_, commands_) == 0) RunRead(command_.read());
      break;
    case proto::ExecutorCommand::kUpload:
      status = RunUpload(command_.upload());
      break;
    case proto::ExecutorCommand::kLoadStructure:
      status = RunLoadStructure(command_.load_structure());
      break;
    case proto::ExecutorCommand::kLoadProgram:
      status = RunLoadProgram(command_.load_program());
      break;
    case proto::ExecutorCommand::kUnloadProgram:
      core_.UnloadProgram(command_.unload_program().program());
      break;
    case proto::ExecutorCommand::kUnloadStructure:
      core_.UnloadStructure(command_.unload_structure().structure());
      break;
    case proto::ExecutorCommand::kSynchronize:
      RunSynchronize(command_.synchronize());
      break;
    case proto::ExecutorCommand::kRename:
      core_.Rename(command_.rename().from(), command_.rename().to());
      break;
    case proto::ExecutorCommand::kCloseTicket:
      break;  // as soon as it came (executor_process.cc): a step may wait for it
    case proto::ExecutorCommand::kConnectPeers:
      return absl::OkStatus();  // before the first command (executor_process.cc); not counted
    case proto::ExecutorCommand::KIND_NOT_SET:
      status = absl::InvalidArgumentError("executor command: its kind is not set or not known");
  }
  ++commands_;
  if (commands_ - reported_commands_ >= kReportCommands &&
      steady_clock::now() - reported_at_ > kReportInterval) {
    Flush();
  }
  return status;
}

void CommandRunner::Flush() {
  ReportProgress();
  events_->Flush();
  answers_waiting_ = false;
}

void CommandRunner::ReportProgress() {
  if (commands_ == reported_commands_) return;
  reported_commands_ = commands_;
  reported_at_ = steady_clock::now();
  event_.Clear();
  event_.mutable_commands_done()->set_commands(commands_);
  event_.mutable_commands_done()->set_step(step_);
  events_->Send(event_);
}

absl::Status CommandRunner::RunExecute(const proto::Execute& execute, const PeekCommand& peek) {
  if (execute.scalar_positions_size() != execute.scalar_bits_size()) {
    return absl::InvalidArgumentError("execute.scalar_bits: not as many as scalar_positions");
  }
  TakeRanges(execute.slots(), slots_);
  TakeRanges(execute.values(), values_);
  scalars_.clear();
  for (int i = 0; i < execute.scalar_positions_size(); ++i) {
    scalars_.push_back({execute.scalar_positions(i), {.i64 = int64_t(execute.scalar_bits(i))}});
  }
  feeds_.clear();
  for (const proto::Feed& feed : execute.feeds()) {
    const std::string& bytes = feed.inline_bytes();
    feeds_.push_back(
        {{reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, feed.uploaded()});
  }
  if (execute.step() != 0) step_ = execute.step();
  FlushAnswers();  // the step may be long
  std::function<void()> settled;
  if (peek) settled = [this, &peek] { AnswerEarly(peek); };
  const absl::Status status = core_.Execute({.step = execute.step(),
                                             .program = execute.program(),
                                             .same_slots = execute.same_slots(),
                                             .slots = slots_,
                                             .values = values_,
                                             .scalars = scalars_,
                                             .feeds = feeds_,
                                             .first_output = execute.first_output()},
                                            settled);
  // An error poisons the outputs, and is told where they are read.
  if (spdlog::should_log(spdlog::level::debug)) {
    spdlog::debug("step ran session={} rank={} program={} {}", position_.session, position_.rank,
                  execute.program(), status.ok() ? ToString(core_.last_step()) : "failed");
  }
  return core_.link_status();
}

void CommandRunner::AnswerEarly(const PeekCommand& peek) {
  const absl::Span<const uint64_t> complete = core_.complete_early();
  const auto any_in = [complete](const proto::IdRange& range) {
    return std::any_of(complete.begin(), complete.end(),
                       [&range](uint64_t id) { return id - range.first() < range.count(); });
  };
  for (size_t i = 0; i < kMostEarly; ++i) {
    const std::optional<absl::string_view> bytes = peek(i);
    if (!bytes.has_value() || bytes->size() > kMostEarlyBytes ||
        !following_.ParseFromArray(bytes->data(), int(bytes->size()))) {
      break;
    }
    if (following_.has_release()) {
      const auto& ids = following_.release().ids();
      if (std::any_of(ids.begin(), ids.end(), any_in)) break;
      continue;
    }
    if (!following_.has_read()) break;
    const proto::ExecutorRead& read = following_.read();
    if (read.has_ticket() || !absl::c_linear_search(complete, read.id())) continue;
    answered_early_.push_back(commands_ + 1 + i);
    RunRead(read);
  }
  FlushAnswers();
}

void CommandRunner::RunRead(const proto::ExecutorRead& read) {
  if (read.rank() != position_.rank) return;
  ReadView view = core_.Read(read.id());
  if (view.status.ok() && read.has_ticket()) {
    auto gate = std::make_shared<TransferGate>(ExpiryOf(read.ticket()));
    core_.HoldForRead(read.id(), gate);
    view.status = transfers_->OpenDownload(read.ticket(), view.bytes, gate);
    if (!view.status.ok()) gate->Open(view.status);
  }
  event_.Clear();
  proto::ReadResult* result = event_.mutable_read_result();
  result->set_request(read.request());
  if (!view.status.ok()) {
    *result->mutable_status() = wire::ToProto(view.status);
  } else if (!read.has_ticket()) {
    result->set_inline_bytes(view.bytes->data(), size_t(view.bytes->size()));
  }
  events_->Send(event_);
  answers_waiting_ = true;
}

absl::Status CommandRunner::RunUpload(const proto::ExecutorUpload& upload) {
  if (!IsValid(Dtype(upload.dtype())) || upload.shape_size() > kMaxRank) {
    return absl::InvalidArgumentError("upload.dtype, upload.shape: no tensor has these");
  }
  TensorType type{Dtype(upload.dtype()), Shape(absl::Span<const int64_t>(upload.shape()))};
  if (upload.rank() != position_.rank) {
    type.shape = Shape::Filled(type.shape.rank(), 0);
    const std::string zeros(size_t(type.bytes()), '\0');  // a number has an element nevertheless
    core_
        .Upload(upload.id(), type, {reinterpret_cast<const std::byte*>(zeros.data()), zeros.size()})
        .IgnoreError();
    return absl::OkStatus();
  }
  if (!upload.has_ticket()) {
    const std::string& bytes = upload.inline_bytes();
    core_
        .Upload(upload.id(), type, {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()})
        .IgnoreError();  // poisons the id
    return absl::OkStatus();
  }
  auto arrival = core_.OpenUpload(upload.id(), type, ExpiryOf(upload.ticket()));
  absl::Status status = arrival.status();
  if (arrival.ok()) {
    auto gate = arrival->gate;
    status = transfers_->OpenUpload(upload.ticket(), *std::move(arrival));
    if (!status.ok()) gate->Open(status);
  }
  event_.Clear();
  event_.mutable_upload_opened()->set_id(upload.id());
  if (!status.ok()) *event_.mutable_upload_opened()->mutable_status() = wire::ToProto(status);
  events_->Send(event_);
  events_->Flush();  // the client waits for it, and a later step for the client
  return absl::OkStatus();
}

void CommandRunner::RunSynchronize(const proto::Synchronize& synchronize) {
  event_.Clear();
  proto::SynchronizeResult* result = event_.mutable_synchronize_result();
  result->set_request(synchronize.request());
  const absl::Status status = core_.TakeFirstError();
  if (!status.ok()) *result->mutable_status() = wire::ToProto(status);
  result->set_device_bytes_in_use(uint64_t(core_.bytes_in_use()));
  result->set_device_bytes_peak(uint64_t(core_.bytes_peak()));
  events_->Send(event_);
  answers_waiting_ = true;
}

absl::Status CommandRunner::RunLoadStructure(const proto::LoadStructure& load) {
  MOAI_ASSIGN_OR_RETURN(std::shared_ptr<const Structure> structure,
                        structures_->Get(load.structure(), load.graph()));
  core_.LoadStructure(load.structure(), std::move(structure)).IgnoreError();  // its steps tell why
  return absl::OkStatus();
}

absl::Status CommandRunner::RunLoadProgram(const proto::LoadProgram& load) {
  if (position_.local >= uint32_t(load.devices_size())) {
    return absl::InvalidArgumentError(absl::StrCat("load_program.devices: has ",
                                                   load.devices_size(), ", none for device ",
                                                   position_.local, " of this executor"));
  }
  const proto::DeviceProgram& device = load.devices(int(position_.local));
  ProgramPart part{.graph = load.graph(),
                   .structure = device.structure(),
                   .sizes = device.sizes(),
                   .collectives = load.collectives()};
  for (const proto::DeviceGroup& group : device.groups()) {
    part.groups.emplace_back(group.ranks().begin(), group.ranks().end());
  }
  for (const uint64_t bits : device.constants()) part.constants.push_back({.i64 = int64_t(bits)});
  // Steps of a program that could not be loaded tell why.
  core_.LoadProgram(load.program(), std::move(part)).IgnoreError();
  return absl::OkStatus();
}

}  // namespace moai
