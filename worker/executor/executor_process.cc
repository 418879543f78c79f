#include "worker/executor/executor_process.h"

#include <unistd.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "spdlog/spdlog.h"
#include "wire/control_client.h"
#include "wire/handshake.h"
#include "wire/status_proto.h"
#include "wire/stream_server.h"
#include "worker/executor/command_queue.h"
#include "worker/executor/command_reader.h"
#include "worker/executor/command_runner.h"
#include "worker/executor/device_events.h"
#include "worker/executor/executor_transfers.h"
#include "worker/executor/session_peers.h"

namespace moai {
namespace {

// A CloseTicket with a ticket of 16 bytes is this long; only what is no longer is looked into
// before it is its turn.
constexpr size_t kCloseTicketBytes = 20;

// For the last words of an executor that cannot go on.
constexpr std::chrono::seconds kCloseTimeout(1);

// The receiving end of the server's stream. Shared with the stream, which may outlive the devices.
class Receiver : public wire::ControlClientHandler {
 public:
  Receiver(std::string hello, std::vector<CommandQueue*> queues, ExecutorTransfers* transfers)
      : hello_(std::move(hello)), queues_(std::move(queues)), transfers_(transfers) {}

  std::string Hello() override { return hello_; }

  absl::StatusOr<std::chrono::milliseconds> OnWelcome(absl::string_view welcome) override {
    proto::ExecutorWelcome parsed;
    if (!parsed.ParseFromArray(welcome.data(), int(welcome.size())) ||
        parsed.version() != wire::kMaxVersion) {
      return absl::FailedPreconditionError("the server's welcome is of no version known here");
    }
    return std::chrono::seconds(parsed.lease_seconds());
  }

  absl::Status OnMessage(absl::string_view message) override {
    // A step may be waiting for exactly this: it must not wait for its turn behind the step.
    if (message.size() <= kCloseTicketBytes) {
      proto::ExecutorCommand command;
      if (command.ParseFromArray(message.data(), int(message.size())) &&
          command.has_close_ticket()) {
        transfers_->Close(command.close_ticket().ticket_id());
      }
    }
    for (CommandQueue* queue : queues_) queue->Put(message);
    return absl::OkStatus();
  }

  void OnFrameEnd() override {
    for (CommandQueue* queue : queues_) queue->Notify();
  }

  void OnEnded(const absl::Status& why) override {
    {
      MutexLock lock(mutex_);
      why_ = why;
    }
    for (CommandQueue* queue : queues_) queue->Close();
  }

  absl::Status why() {
    MutexLock lock(mutex_);
    return why_;
  }

 private:
  const std::string hello_;
  const std::vector<CommandQueue*> queues_;
  ExecutorTransfers* const transfers_;
  Mutex mutex_;
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
};

// Tells the server, through a client that exists only once the stream is open.
class StreamEvents : public EventSink {
 public:
  explicit StreamEvents(wire::ControlClient* client) : client_(client) {}
  // Errors mean that the stream has ended, which the queue's end tells as well.
  void Send(const proto::ExecutorEvent& event) override {
    client_->Queue(event.SerializeAsString()).IgnoreError();
  }
  void Flush() override { client_->Flush(); }

 private:
  wire::ControlClient* const client_;
};

// The devices of this process, each with its commands and its thread. A session's only device runs
// on the caller's thread.
class Devices {
 public:
  // `peers` is null where the session has one device.
  Devices(size_t count, SessionPeers* peers, ExecutorTransfers* transfers)
      : peers_(peers), transfers_(transfers), queues_(count) {}

  std::vector<CommandQueue*> queues() {
    std::vector<CommandQueue*> queues;
    for (CommandQueue& queue : queues_) queues.push_back(&queue);
    return queues;
  }

  // Runs what comes until the queues end, or a device fails: its error. The other devices may still
  // run then.
  absl::Status Run(const proto::ExecutorConfig& config, KernelFactory make_kernel,
                   EventSink* events);

 private:
  void RunDevice(size_t device, CommandRunner& runner);
  // Where the session has several executors, the first command says where they are.
  absl::Status ConnectPeers(absl::string_view first_command);
  // Ends the other devices too.
  void Fail(const absl::Status& why);

  SessionPeers* const peers_;
  ExecutorTransfers* const transfers_;
  std::deque<CommandQueue> queues_;
  StructureStore structures_;
  std::vector<std::unique_ptr<CommandRunner>> runners_;
  std::unique_ptr<DeviceEvents> device_events_;  // null for one device
  std::vector<std::thread> threads_;
  Mutex mutex_;
  CondVar changed_;
  size_t ended_ ABSL_GUARDED_BY(mutex_) = 0;  // devices
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

absl::Status Devices::Run(const proto::ExecutorConfig& config, KernelFactory make_kernel,
                          EventSink* events) {
  uint32_t first_rank = 0;
  for (uint32_t i = 0; i < config.shape().executor(); ++i) {
    first_rank += config.shape().devices(int(i));
  }
  if (queues_.size() > 1) device_events_ = std::make_unique<DeviceEvents>(queues_.size(), events);
  for (uint32_t i = 0; i < queues_.size(); ++i) {
    const proto::DeviceDescription& device = config.devices(int(i));
    runners_.push_back(std::make_unique<CommandRunner>(
        ExecutorOptions{.memory_bytes = int64_t(device.memory_bytes()),
                        .device = {int(device.threads())},
                        .make_kernel = make_kernel,
                        .peers = peers_ == nullptr ? nullptr : peers_->For(i)},
        &structures_, transfers_, device_events_ == nullptr ? events : device_events_->For(i),
        DevicePosition{.rank = first_rank + i, .local = i, .session = config.label()}));
  }
  if (peers_ == nullptr) {
    RunDevice(0, *runners_[0]);
  } else {
    for (size_t i = 0; i < queues_.size(); ++i) {
      threads_.emplace_back([this, i] { RunDevice(i, *runners_[i]); });
    }
  }
  {
    MutexLock lock(mutex_);
    while (failure_.ok() && ended_ < queues_.size()) changed_.Wait(mutex_);
    if (!failure_.ok()) return failure_;
  }
  for (std::thread& thread : threads_) thread.join();
  return absl::OkStatus();
}

void Devices::RunDevice(size_t device, CommandRunner& runner) {
  CommandReader commands(&queues_[device]);
  const CommandRunner::PeekCommand peek = [&commands](size_t distance) {
    return commands.Peek(distance);
  };
  const auto next = [&] {
    return commands.Next([&runner] { runner.FlushAnswers(); }, [&runner] { runner.Flush(); });
  };
  bool connected = peers_ == nullptr;
  while (const std::optional<absl::string_view> command = next()) {
    absl::Status status;
    if (!connected) {
      connected = true;
      status = ConnectPeers(*command);
    }
    if (status.ok()) status = runner.Run(*command, peek);
    if (!status.ok()) return Fail(status);
  }
  MutexLock lock(mutex_);
  ++ended_;
  changed_.NotifyAll();
}

absl::Status Devices::ConnectPeers(absl::string_view first_command) {
  proto::ExecutorCommand command;
  const bool parsed = command.ParseFromArray(first_command.data(), int(first_command.size()));
  return peers_->Connect(parsed ? command.connect_peers() : proto::ConnectPeers());
}

void Devices::Fail(const absl::Status& why) {
  {
    MutexLock lock(mutex_);
    failure_.Update(why);
    changed_.NotifyAll();
  }
  if (peers_ != nullptr) peers_->Abort(why);
  for (CommandQueue& queue : queues_) queue.Close();
}

// Of the session as a whole, of which config.shape speaks.
absl::Status CheckShape(const proto::ExecutorConfig& config) {
  const proto::SessionShape& shape = config.shape();
  if (config.devices_size() > 0 && shape.executor() < uint32_t(shape.devices_size()) &&
      shape.devices(int(shape.executor())) == uint32_t(config.devices_size())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("configuration: ", config.devices_size(),
                                                 " devices do not agree with the session's shape"));
}

}  // namespace

absl::Status RunExecutor(const proto::ExecutorConfig& config, KernelFactory make_kernel,
                         const LinkThrottle& throttle) {
  MOAI_RETURN_IF_ERROR(CheckShape(config));
  const bool alone = config.shape().devices_size() == 1 && config.devices_size() == 1;
  std::unique_ptr<SessionPeers> peers;
  if (!alone) {
    MOAI_ASSIGN_OR_RETURN(peers, SessionPeers::Open(config.shape(), config.peer_host(), throttle));
  }
  ExecutorTransfers transfers;
  wire::StreamServerOptions listen;
  listen.addresses = {config.transfer_addresses().begin(), config.transfer_addresses().end()};
  listen.allow_insecure_remote = config.allow_insecure_remote();
  MOAI_ASSIGN_OR_RETURN(std::unique_ptr<wire::StreamServer> server,
                        wire::StreamServer::Start(listen, transfers.Methods()));

  proto::ExecutorHello hello;
  hello.set_min_version(wire::kMinVersion);
  hello.set_max_version(wire::kMaxVersion);
  hello.set_secret(config.secret());
  hello.set_process_id(uint64_t(getpid()));
  for (const std::string& address : server->addresses()) hello.add_transfer_addresses(address);
  if (peers != nullptr) {
    for (const std::string& address : peers->addresses()) hello.add_peer_addresses(address);
  }

  auto devices = std::make_unique<Devices>(size_t(config.devices_size()), peers.get(), &transfers);
  auto receiver =
      std::make_shared<Receiver>(hello.SerializeAsString(), devices->queues(), &transfers);
  MOAI_ASSIGN_OR_RETURN(
      std::unique_ptr<wire::ControlClient> client,
      wire::ControlClient::Connect(
          {.address = config.server_address(), .method = "/moai.proto.ExecutorService/Attach"},
          receiver));
  spdlog::info("executor connected executor={} session={} devices={} memory_bytes={} threads={}",
               config.executor(), config.label(), config.devices_size(),
               config.devices(0).memory_bytes(), config.devices(0).threads());

  StreamEvents events(client.get());
  absl::Status failure = devices->Run(config, make_kernel, &events);
  if (failure.ok()) {
    client.reset();  // before what its handler uses
    return receiver->why();
  }
  proto::ExecutorEvent event;
  *event.mutable_failed()->mutable_status() = wire::ToProto(failure);
  client->Send(event.SerializeAsString()).IgnoreError();
  client->Close(kCloseTimeout);
  // The other devices may wait for clients still; the end of the process is theirs too.
  static_cast<void>(devices.release());
  static_cast<void>(peers.release());
  static_cast<void>(client.release());
  static_cast<void>(server.release());
  return failure;
}

}  // namespace moai
