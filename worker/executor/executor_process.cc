#include "worker/executor/executor_process.h"

#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "spdlog/spdlog.h"
#include "wire/control_client.h"
#include "wire/handshake.h"
#include "wire/stream_server.h"
#include "worker/executor/command_queue.h"
#include "worker/executor/command_runner.h"
#include "worker/executor/executor_transfers.h"

namespace moai {
namespace {

// A CloseTicket with a ticket of 16 bytes is this long; only what is no longer is looked into
// before it is its turn.
constexpr size_t kCloseTicketBytes = 20;

// The receiving end of the server's stream. Shared with the stream, which may outlive the runner.
class Receiver : public wire::ControlClientHandler {
 public:
  Receiver(std::string hello, CommandQueue* queue, ExecutorTransfers* transfers)
      : hello_(std::move(hello)), queue_(queue), transfers_(transfers) {}

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
    queue_->Put(message);
    return absl::OkStatus();
  }

  void OnFrameEnd() override { queue_->Notify(); }

  void OnEnded(const absl::Status& why) override {
    {
      MutexLock lock(mutex_);
      why_ = why;
    }
    queue_->Close();
  }

  absl::Status why() {
    MutexLock lock(mutex_);
    return why_;
  }

 private:
  const std::string hello_;
  CommandQueue* const queue_;
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

}  // namespace

absl::Status RunExecutor(const proto::ExecutorConfig& config, KernelFactory make_kernel) {
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

  CommandQueue queue;
  auto receiver = std::make_shared<Receiver>(hello.SerializeAsString(), &queue, &transfers);
  MOAI_ASSIGN_OR_RETURN(
      std::unique_ptr<wire::ControlClient> client,
      wire::ControlClient::Connect(
          {.address = config.server_address(), .method = "/moai.proto.ExecutorService/Attach"},
          receiver));
  spdlog::info("executor connected executor={} session={} memory_bytes={} threads={}",
               config.executor(), config.label(), config.device().memory_bytes(),
               config.device().threads());

  StreamEvents events(client.get());
  CommandRunner runner({.memory_bytes = int64_t(config.device().memory_bytes()),
                        .device = {int(config.device().threads())},
                        .make_kernel = make_kernel},
                       &transfers, &events);
  CommandBatch batch;
  while (queue.Take(batch, [&runner] { runner.Flush(); })) {
    for (size_t i = 0; i < batch.size(); ++i) {
      if (absl::Status status = runner.Run(batch[i]); !status.ok()) {
        client.reset();  // before what its handler uses
        return status;
      }
    }
    runner.FlushAnswers();
  }
  client.reset();
  return receiver->why();
}

}  // namespace moai
