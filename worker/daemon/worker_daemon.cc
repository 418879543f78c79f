#include "worker/daemon/worker_daemon.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "proto/worker.pb.h"
#include "spdlog/spdlog.h"
#include "wire/control_client.h"
#include "wire/handshake.h"
#include "wire/host_memory.h"
#include "wire/status_proto.h"
#include "worker/daemon/measurement_proto.h"
#include "worker/daemon/supervisor.h"

namespace moai {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstRetry(100);
constexpr milliseconds kLongestRetry(5000);

}  // namespace

class WorkerDaemon::Impl : public std::enable_shared_from_this<Impl> {
 public:
  explicit Impl(WorkerOptions options)
      : options_(std::move(options)),
        supervisor_(
            [this](uint64_t executor, pid_t process) { OnStarted(executor, process); },
            [this](uint64_t executor, const absl::Status& how) { OnExited(executor, how); }) {}

  absl::Status Run();
  void Stop() {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }

 private:
  // One registration with the server.
  class Registration : public wire::ControlClientHandler {
   public:
    Registration(Impl* daemon, std::string hello) : daemon_(daemon), hello_(std::move(hello)) {}

    std::string Hello() override {
      proto::WorkerHello hello;
      hello.ParseFromString(hello_);
      hello.set_resume_id(resume_id_);
      return hello.SerializeAsString();
    }
    absl::StatusOr<milliseconds> OnWelcome(absl::string_view bytes) override {
      proto::WorkerWelcome welcome;
      if (!welcome.ParseFromArray(bytes.data(), int(bytes.size())) ||
          welcome.version() != wire::kMaxVersion) {
        return absl::FailedPreconditionError("the server's welcome is of no version known here");
      }
      resume_id_ = welcome.resume_id();
      return std::chrono::seconds(welcome.lease_seconds());
    }
    absl::Status OnMessage(absl::string_view message) override {
      return daemon_->OnCommand(message);
    }
    void OnDisconnected(const absl::Status& why) override {
      spdlog::warn("server connection lost reason=\"{}\"", why.ToString());
    }
    void OnEnded(const absl::Status& why) override { daemon_->OnRegistrationEnded(why); }

   private:
    Impl* const daemon_;
    const std::string hello_;
    std::string resume_id_;
  };

  std::string Hello() const;
  absl::Status OnCommand(absl::string_view message);
  void StartExecutor(const proto::StartExecutor& start);
  void OnStarted(uint64_t executor, pid_t process);
  void OnExited(uint64_t executor, const absl::Status& how);
  void Tell(const proto::WorkerEvent& event);
  void OnRegistrationEnded(const absl::Status& why) {
    MutexLock lock(mutex_);
    ended_ = why.ok() ? absl::UnavailableError("the server ended the registration") : why;
    changed_.NotifyAll();
  }

  const WorkerOptions options_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status ended_ ABSL_GUARDED_BY(mutex_);  // of the registration; OK while it lasts
  std::shared_ptr<wire::ControlClient> client_ ABSL_GUARDED_BY(mutex_);
  Supervisor supervisor_;  // last: its thread uses everything above
};

std::string WorkerDaemon::Impl::Hello() const {
  proto::WorkerHello hello;
  hello.set_min_version(wire::kMinVersion);
  hello.set_max_version(wire::kMaxVersion);
  hello.set_token(options_.token);
  hello.set_name(options_.name);
  hello.set_process_id(uint64_t(getpid()));
  hello.set_host_id(wire::HostId());
  for (const WorkerDevice& device : options_.devices) {
    proto::DeviceDescription* description = hello.add_devices();
    description->set_kind("cpu");
    description->set_memory_bytes(uint64_t(device.memory_bytes));
    description->set_threads(uint32_t(device.threads));
    if (device.measurement.has_value()) {
      *description->mutable_measurement() = ToProto(*device.measurement);
    }
  }
  if (options_.links.has_value()) {
    *hello.mutable_process_link() = ToProto(options_.links->process);
    *hello.mutable_network_link() = ToProto(options_.links->network);
    *hello.mutable_host_link() = ToProto(options_.links->host);
  }
  return hello.SerializeAsString();
}

absl::Status WorkerDaemon::Impl::Run() {
  milliseconds retry = kFirstRetry;
  while (true) {
    {
      MutexLock lock(mutex_);
      if (stopping_) return absl::OkStatus();
      ended_ = absl::OkStatus();
    }
    auto connected = wire::ControlClient::Connect({.address = options_.server_address,
                                                   .method = "/moai.proto.WorkerService/Attach",
                                                   .connect_timeout = std::chrono::seconds(5)},
                                                  std::make_shared<Registration>(this, Hello()));
    std::shared_ptr<wire::ControlClient> client;
    absl::Status why = connected.status();
    if (connected.ok()) {
      retry = kFirstRetry;
      client = *std::move(connected);
      spdlog::info("registered server={} devices={}", options_.server_address,
                   options_.devices.size());
      MutexLock lock(mutex_);
      client_ = client;
      while (!stopping_ && ended_.ok()) changed_.Wait(mutex_);
      client_ = nullptr;
      why = ended_;
    }
    // What ran for that registration ends with it.
    supervisor_.StopAll();
    if (client != nullptr) client->Close(std::chrono::seconds(1));
    client.reset();
    if (absl::IsPermissionDenied(why) || absl::IsUnauthenticated(why) ||
        absl::IsInvalidArgument(why) || absl::IsFailedPrecondition(why)) {
      return why;
    }
    MutexLock lock(mutex_);
    if (!stopping_)
      spdlog::warn("no server reason=\"{}\" retry_ms={}", why.ToString(), retry.count());
    const auto again = steady_clock::now() + retry;
    while (!stopping_ && changed_.WaitUntil(mutex_, again)) {
    }
    retry = std::min(2 * retry, kLongestRetry);
  }
}

absl::Status WorkerDaemon::Impl::OnCommand(absl::string_view message) {
  proto::WorkerCommand command;
  if (!command.ParseFromArray(message.data(), int(message.size()))) {
    return absl::InvalidArgumentError("worker command: cannot be parsed");
  }
  switch (command.kind_case()) {
    case proto::WorkerCommand::kStart:
      StartExecutor(command.start());
      return absl::OkStatus();
    case proto::WorkerCommand::kStop:
      supervisor_.Stop(command.stop().executor());
      return absl::OkStatus();
    case proto::WorkerCommand::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("worker command: its kind is not set or not known");
}

void WorkerDaemon::Impl::StartExecutor(const proto::StartExecutor& start) {
  for (const uint32_t device : start.devices()) {
    if (device < options_.devices.size()) continue;
    OnExited(start.executor(),
             absl::InvalidArgumentError(absl::StrCat("start.devices: ", device, " is not one of ",
                                                     options_.devices.size())));
    return;
  }
  proto::ExecutorConfig config;
  config.set_server_address(options_.server_address);
  config.set_secret(start.secret());
  config.set_executor(start.executor());
  config.set_label(start.label());
  for (const uint32_t position : start.devices()) {
    const WorkerDevice& device = options_.devices[position];
    proto::DeviceDescription* description = config.add_devices();
    description->set_kind("cpu");
    description->set_memory_bytes(uint64_t(device.memory_bytes));
    description->set_threads(uint32_t(device.threads));
  }
  *config.mutable_shape() = start.shape();
  config.set_peer_host(options_.peer_host);
  config.add_transfer_addresses(
      absl::StrCat("unix:", options_.socket_directory, "/executor-", start.executor()));
  config.add_transfer_addresses(absl::StrCat(options_.transfer_host, ":0"));
  config.set_allow_insecure_remote(options_.allow_insecure_remote);
  std::vector<std::string> arguments = {"--executor"};
  arguments.insert(arguments.end(), options_.executor_arguments.begin(),
                   options_.executor_arguments.end());
  supervisor_.Start({start.executor(),
                     {start.devices().begin(), start.devices().end()},
                     options_.program,
                     std::move(arguments),
                     config.SerializeAsString()});
}

void WorkerDaemon::Impl::OnStarted(uint64_t executor, pid_t process) {
  spdlog::info("executor started executor={} pid={}", executor, process);
  proto::WorkerEvent event;
  event.mutable_started()->set_executor(executor);
  event.mutable_started()->set_process_id(uint64_t(process));
  Tell(event);
}

void WorkerDaemon::Impl::OnExited(uint64_t executor, const absl::Status& how) {
  if (how.ok()) {
    spdlog::info("executor stopped executor={}", executor);
  } else {
    spdlog::error("executor lost executor={} reason=\"{}\"", executor, how.ToString());
  }
  unlink(absl::StrCat(options_.socket_directory, "/executor-", executor).c_str());
  proto::WorkerEvent event;
  event.mutable_exited()->set_executor(executor);
  *event.mutable_exited()->mutable_status() = wire::ToProto(how);
  Tell(event);
}

void WorkerDaemon::Impl::Tell(const proto::WorkerEvent& event) {
  std::shared_ptr<wire::ControlClient> client;
  {
    MutexLock lock(mutex_);
    client = client_;
  }
  // Without a registration nobody waits for it.
  if (client != nullptr) client->Send(event.SerializeAsString()).IgnoreError();
}

WorkerDaemon::WorkerDaemon(WorkerOptions options)
    : impl_(std::make_shared<Impl>(std::move(options))) {}
WorkerDaemon::~WorkerDaemon() = default;
absl::Status WorkerDaemon::Run() { return impl_->Run(); }
void WorkerDaemon::Stop() { impl_->Stop(); }

}  // namespace moai
