#include "tests/security/local_session.h"

#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "proto/session.pb.h"
#include "proto/worker.pb.h"
#include "scheduler/planner.h"
#include "server/session_core.h"
#include "wire/status_proto.h"
#include "worker/executor/command_runner.h"
#include "worker/kernels/cpu/cpu_kernels.h"

namespace moai {
namespace {

// Requests of this class, not of the messages it is given.
constexpr uint64_t kFirstRequest = uint64_t{1} << 62;

SessionSettings SettingsOf(int64_t device_memory) {
  SessionSettings settings;
  settings.devices = {{"cpu", device_memory, 1}};
  return settings;
}

// Every bulk transfer is over at once; what was to come is zeros.
class InstantTransfers : public BulkTransfers {
 public:
  absl::Status OpenUpload(const proto::Ticket& /*ticket*/, Arrival arrival) override {
    std::memset(arrival.bytes->data(), 0, size_t(arrival.bytes->size()));
    arrival.gate->Open(absl::OkStatus());
    return absl::OkStatus();
  }
  absl::Status OpenDownload(const proto::Ticket& /*ticket*/, std::shared_ptr<Bytes> /*bytes*/,
                            std::shared_ptr<TransferGate> gate) override {
    gate->Open(absl::OkStatus());
    return absl::OkStatus();
  }
  void Close(absl::string_view /*ticket_id*/) override {}
};

}  // namespace

class LocalSession::Impl : public DeviceSink, public ClientSink, public EventSink {
 public:
  explicit Impl(int64_t device_memory)
      : planner_(MakeOneDevicePlanner()),
        runner_({.memory_bytes = device_memory, .device = {1}, .make_kernel = MakeCpuKernel},
                &structures_, &transfers_, this),
        core_(SettingsOf(device_memory), planner_.get(), this, this) {
    core_.OnExecutorReady({"unix:/nowhere"});
  }

  absl::Status Give(absl::string_view bytes) {
    told_ = absl::OkStatus();
    proto::ClientMessage message;
    if (!message.ParseFromArray(bytes.data(), int(bytes.size()))) {
      ended_ = true;
      return absl::InvalidArgumentError("message: cannot be parsed as a ClientMessage");
    }
    const absl::Status broken = Pass(message);
    if (!broken.ok()) return broken;
    if (core_.closed_by_client()) {
      ended_ = true;
      return absl::OkStatus();
    }
    message.Clear();
    message.mutable_synchronize()->set_request(next_request_++);
    const absl::Status asked = Pass(message);
    return asked.ok() ? told_ : asked;
  }

  // DeviceSink
  size_t Send(const proto::ExecutorCommand& command) override {
    commands_.push_back(command.SerializeAsString());
    return commands_.back().size();
  }
  size_t SendTo(size_t /*executor*/, const proto::ExecutorCommand& command) override {
    return Send(command);
  }
  // ClientSink
  void Send(const proto::ServerMessage& message) override {
    if (message.has_read_result()) {
      told_.Update(wire::FromProto(message.read_result().status()));
    } else if (message.has_upload_grant()) {
      told_.Update(wire::FromProto(message.upload_grant().status()));
    } else if (message.has_synchronize_result()) {
      told_.Update(wire::FromProto(message.synchronize_result().status()));
    }
  }
  // EventSink
  void Send(const proto::ExecutorEvent& event) override { events_.push_back(event); }
  void Flush() override {}

  bool ended() const { return ended_; }
  const absl::Status& internal_error() const { return internal_error_; }
  uint64_t next_step() const { return core_.steps() + 1; }

 private:
  // The message, and all that the two sides then have to say to each other.
  absl::Status Pass(proto::ClientMessage& message) {
    const absl::Status status = core_.OnClientMessage(message);
    core_.Flush();
    ended_ = ended_ || !status.ok();
    while (!commands_.empty()) {
      while (!commands_.empty()) {
        const std::string command = std::move(commands_.front());
        commands_.pop_front();
        internal_error_.Update(runner_.Run(command));
      }
      runner_.Flush();
      while (!events_.empty()) {
        proto::ExecutorEvent event = std::move(events_.front());
        events_.pop_front();
        internal_error_.Update(core_.OnExecutorEvent(0, event));
      }
      core_.Flush();
    }
    return status;
  }

  InstantTransfers transfers_;
  StructureStore structures_;
  std::unique_ptr<Planner> planner_;
  CommandRunner runner_;
  SessionCore core_;
  std::deque<std::string> commands_;
  std::deque<proto::ExecutorEvent> events_;
  uint64_t next_request_ = kFirstRequest;
  absl::Status told_;
  absl::Status internal_error_;
  bool ended_ = false;
};

LocalSession::LocalSession(int64_t device_memory) : impl_(std::make_unique<Impl>(device_memory)) {}
LocalSession::~LocalSession() = default;
absl::Status LocalSession::Give(absl::string_view message) { return impl_->Give(message); }
bool LocalSession::ended() const { return impl_->ended(); }
const absl::Status& LocalSession::internal_error() const { return impl_->internal_error(); }
uint64_t LocalSession::next_step() const { return impl_->next_step(); }

}  // namespace moai
