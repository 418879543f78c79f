#include "server/worker_registry.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/fit.h"
#include "server/measured_node.h"
#include "spdlog/spdlog.h"
#include "wire/handshake.h"
#include "wire/random_id.h"
#include "wire/status_proto.h"

namespace moai {
namespace {

constexpr int kMaxDevices = 64;
constexpr size_t kMaxHostId = 256;
constexpr uint32_t kMaxThreads = 4096;
constexpr uint64_t kMaxDeviceBytes = uint64_t{1} << 50;

absl::StatusOr<std::vector<DeviceProfile>> DevicesOf(const proto::WorkerHello& hello) {
  if (hello.devices_size() == 0 || hello.devices_size() > kMaxDevices) {
    return absl::InvalidArgumentError(
        absl::StrCat("hello.devices: has ", hello.devices_size(), ", expected 1 to ", kMaxDevices));
  }
  if (hello.host_id().size() > kMaxHostId) {
    return absl::InvalidArgumentError(absl::StrCat("hello.host_id: has ", hello.host_id().size(),
                                                   " bytes, at most ", kMaxHostId,
                                                   " are expected"));
  }
  std::vector<DeviceProfile> devices;
  for (const proto::DeviceDescription& device : hello.devices()) {
    if (device.kind() != "cpu") {
      return absl::InvalidArgumentError("hello.devices.kind: this server knows \"cpu\" only");
    }
    if (device.memory_bytes() == 0 || device.memory_bytes() > kMaxDeviceBytes ||
        device.threads() == 0 || device.threads() > kMaxThreads) {
      return absl::InvalidArgumentError(absl::StrCat("hello.devices: ", device.memory_bytes(),
                                                     " bytes and ", device.threads(),
                                                     " threads are no device"));
    }
    DeviceProfile& profile = devices.emplace_back();
    profile.kind = device.kind();
    profile.memory_bytes = int64_t(device.memory_bytes());
    profile.threads = int(device.threads());
    MOAI_ASSIGN_OR_RETURN(profile.measured, MeasuredNodeOf(device, hello));
    profile.host = hello.host_id();
  }
  return devices;
}

// What a peer calls itself, fit for one log line.
std::string ForLog(absl::string_view name) { return absl::CHexEscape(name.substr(0, 64)); }

}  // namespace

class WorkerRegistry::WorkerHandler : public wire::ControlHandler {
 public:
  WorkerHandler(WorkerRegistry* registry, uint64_t worker) : registry_(registry), worker_(worker) {}

  absl::Status OnMessage(absl::string_view message) override {
    proto::WorkerEvent event;
    if (!event.ParseFromArray(message.data(), int(message.size()))) {
      return absl::InvalidArgumentError("message: cannot be parsed as a WorkerEvent");
    }
    return registry_->OnWorkerEvent(worker_, event);
  }
  void OnDisconnected(const absl::Status& why) override {
    spdlog::warn("worker disconnected worker={} reason=\"{}\"", worker_, why.ToString());
  }
  void OnEnded(const absl::Status& why) override { registry_->OnWorkerEnded(worker_, why); }

 private:
  WorkerRegistry* const registry_;
  const uint64_t worker_;
};

class WorkerRegistry::ExecutorHandler : public wire::ControlHandler {
 public:
  ExecutorHandler(std::shared_ptr<Session> session, size_t position)
      : session_(std::move(session)), position_(position) {}

  absl::Status OnMessage(absl::string_view message) override {
    return session_->OnExecutorMessage(position_, message);
  }
  void OnFrameEnd() override { session_->OnExecutorFrameEnd(); }
  void OnEnded(const absl::Status& why) override {
    session_->OnExecutorLost(absl::UnavailableError(
        absl::StrCat("the connection to the executor of this session has ended: ",
                     why.ok() ? "closed" : why.message())));
  }

 private:
  const std::shared_ptr<Session> session_;
  const size_t position_;
};

WorkerRegistry::WorkerRegistry(Pool* pool, std::string token, std::chrono::seconds lease)
    : pool_(pool), token_(std::move(token)), lease_(lease) {}

bool WorkerRegistry::WaitForWorkers(size_t count, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  MutexLock lock(mutex_);
  while (workers_.size() < count && registered_.WaitUntil(mutex_, deadline)) {
  }
  return workers_.size() >= count;
}

absl::StatusOr<wire::Admission> WorkerRegistry::OnWorkerHello(absl::string_view bytes,
                                                              const wire::PeerInfo& peer) {
  proto::WorkerHello hello;
  if (!hello.ParseFromArray(bytes.data(), int(bytes.size()))) {
    return absl::InvalidArgumentError("hello: cannot be parsed as a WorkerHello");
  }
  MOAI_ASSIGN_OR_RETURN(const uint32_t version,
                        wire::NegotiateVersion(hello.min_version(), hello.max_version(), "worker"));
  if (!token_.empty() && !wire::EqualSecrets(hello.token(), token_)) {
    return absl::UnauthenticatedError("hello.token: is not the one this server expects of workers");
  }
  if (!hello.resume_id().empty()) return ResumeWorker(hello.resume_id());
  MOAI_ASSIGN_OR_RETURN(std::vector<DeviceProfile> devices, DevicesOf(hello));
  const size_t device_count = devices.size();
  const int64_t memory = devices[0].memory_bytes;
  const bool measured = devices[0].measured != nullptr;

  proto::WorkerWelcome welcome;
  welcome.set_version(version);
  welcome.set_resume_id(wire::NewRandomId());
  welcome.set_lease_seconds(uint32_t(lease_.count()));
  MutexLock lock(mutex_);
  const uint64_t worker = pool_->AddWorker(hello.name(), std::move(devices));
  auto stream = std::make_shared<wire::ControlSession>(
      std::make_shared<WorkerHandler>(this, worker), wire::ControlSessionOptions{.lease = lease_});
  workers_[worker] = {hello.name(), welcome.resume_id(), stream};
  registered_.NotifyAll();
  spdlog::info(
      "worker registered worker={} name=\"{}\" pid={} peer={} devices={} memory={} measured={}",
      worker, ForLog(hello.name()), hello.process_id(), peer.address, device_count,
      ShortBytes(memory), measured);
  return wire::Admission{stream, false, welcome.SerializeAsString()};
}

absl::StatusOr<wire::Admission> WorkerRegistry::ResumeWorker(const std::string& resume_id) {
  MutexLock lock(mutex_);
  for (const auto& [id, worker] : workers_) {
    if (!wire::EqualSecrets(worker.resume_id, resume_id)) continue;
    proto::WorkerWelcome welcome;
    welcome.set_version(wire::kMaxVersion);
    welcome.set_resume_id(resume_id);
    welcome.set_lease_seconds(uint32_t(lease_.count()));
    welcome.set_resumed(true);
    spdlog::info("worker resumed worker={}", id);
    return wire::Admission{worker.stream, true, welcome.SerializeAsString()};
  }
  return absl::NotFoundError("hello.resume_id: no worker of this server; register anew");
}

absl::Status WorkerRegistry::OnWorkerEvent(uint64_t worker, const proto::WorkerEvent& event) {
  switch (event.kind_case()) {
    case proto::WorkerEvent::kStarted:
      return absl::OkStatus();
    case proto::WorkerEvent::kExited:
      break;
    case proto::WorkerEvent::KIND_NOT_SET:
      return absl::InvalidArgumentError("worker event: its kind is not set or not known");
  }
  std::shared_ptr<Session> session;
  {
    MutexLock lock(mutex_);
    auto executor = executors_.find(event.exited().executor());
    // One that was stopped is forgotten already.
    if (executor == executors_.end() || executor->second.leases[0].worker != worker) {
      return absl::OkStatus();
    }
    session = executor->second.session;
  }
  const absl::Status how = wire::FromProto(event.exited().status());
  session->OnExecutorLost(absl::UnavailableError(
      absl::StrCat("the executor of this session is gone, and what it held with it: ",
                   how.ok() ? "it was stopped" : how.message())));
  return absl::OkStatus();
}

void WorkerRegistry::OnWorkerEnded(uint64_t worker, const absl::Status& why) {
  std::vector<std::shared_ptr<Session>> sessions;
  Worker gone;
  {
    MutexLock lock(mutex_);
    auto found = workers_.find(worker);
    if (found == workers_.end()) return;
    gone = std::move(found->second);
    workers_.erase(found);
    for (const auto& [id, executor] : executors_) {
      if (executor.leases[0].worker == worker) sessions.push_back(executor.session);
    }
    pool_->RemoveWorker(worker);
  }
  spdlog::warn("worker gone worker={} name=\"{}\" reason=\"{}\"", worker, ForLog(gone.name),
               why.ToString());
  for (const auto& session : sessions) {
    session->OnExecutorLost(absl::UnavailableError(
        absl::StrCat("the worker of this session is gone, and what it held with it: ",
                     why.ok() ? "it was stopped" : why.message())));
  }
}

std::vector<size_t> ExecutorDevices(absl::Span<const Lease> leases) {
  std::vector<size_t> devices;
  for (size_t i = 0; i < leases.size(); ++i) {
    if (i == 0 || leases[i].worker != leases[i - 1].worker) devices.push_back(0);
    ++devices.back();
  }
  return devices;
}

absl::StatusOr<std::vector<uint64_t>> WorkerRegistry::StartExecutors(
    absl::Span<const Lease> leases, const std::shared_ptr<Session>& session) {
  const std::vector<size_t> counts = ExecutorDevices(leases);
  proto::SessionShape shape;
  for (const size_t count : counts) shape.add_devices(uint32_t(count));
  MutexLock lock(mutex_);
  for (const Lease& lease : leases) {
    if (workers_.contains(lease.worker)) continue;
    return absl::UnavailableError("the worker of a leased device has just gone; try again");
  }
  std::vector<uint64_t> ids;
  for (const size_t count : counts) {
    const uint64_t id = next_executor_++;
    executors_[id] = {{leases.begin(), leases.begin() + ptrdiff_t(count)},
                      ids.size(),
                      wire::NewRandomId(),
                      session};
    leases.remove_prefix(count);
    shape.set_executor(uint32_t(ids.size()));
    StartExecutor(id, shape);
    ids.push_back(id);
  }
  return ids;
}

void WorkerRegistry::StartExecutor(uint64_t id, const proto::SessionShape& shape) {
  const Executor& executor = executors_[id];
  proto::WorkerCommand command;
  proto::StartExecutor* start = command.mutable_start();
  start->set_executor(id);
  for (const Lease& lease : executor.leases) start->add_devices(lease.device);
  start->set_secret(executor.secret);
  start->set_label(executor.session->label());
  *start->mutable_shape() = shape;
  // An error means that the worker is ending: its sessions are about to be told.
  workers_[executor.leases[0].worker].stream->Send(command.SerializeAsString()).IgnoreError();
}

void WorkerRegistry::StopExecutors(absl::Span<const uint64_t> ids) {
  std::shared_ptr<Session> session;  // let go of after the lock
  MutexLock lock(mutex_);
  for (const uint64_t id : ids) {
    auto executor = executors_.find(id);
    if (executor == executors_.end()) continue;
    if (auto worker = workers_.find(executor->second.leases[0].worker); worker != workers_.end()) {
      proto::WorkerCommand command;
      command.mutable_stop()->set_executor(id);
      worker->second.stream->Send(command.SerializeAsString()).IgnoreError();
    }
    pool_->Release(executor->second.leases);
    session = std::move(executor->second.session);
    executors_.erase(executor);
  }
}

absl::StatusOr<wire::Admission> WorkerRegistry::OnExecutorHello(absl::string_view bytes,
                                                                const wire::PeerInfo& peer) {
  proto::ExecutorHello hello;
  if (!hello.ParseFromArray(bytes.data(), int(bytes.size()))) {
    return absl::InvalidArgumentError("hello: cannot be parsed as an ExecutorHello");
  }
  MOAI_ASSIGN_OR_RETURN(
      const uint32_t version,
      wire::NegotiateVersion(hello.min_version(), hello.max_version(), "executor"));
  proto::ExecutorWelcome welcome;
  welcome.set_version(version);
  welcome.set_lease_seconds(uint32_t(lease_.count()));
  std::shared_ptr<Session> session;
  std::shared_ptr<wire::ControlSession> stream;
  size_t position = 0;
  {
    MutexLock lock(mutex_);
    for (auto& [id, executor] : executors_) {
      if (!wire::EqualSecrets(executor.secret, hello.secret())) continue;
      if (executor.connected) {
        stream = executor.stream.lock();
        if (stream == nullptr) return absl::NotFoundError("hello.secret: its stream has ended");
        return wire::Admission{stream, true, welcome.SerializeAsString()};
      }
      session = executor.session;
      position = executor.position;
      wire::ControlSessionOptions options{.lease = lease_};
      // SessionCore bounds what is in flight; an executor that computes for long is no reason to
      // end a session.
      options.limits.max_queued_messages = size_t{1} << 20;
      options.limits.max_queued_bytes = size_t{1} << 30;
      options.limits.max_message_bytes = size_t{64} << 20;
      stream = std::make_shared<wire::ControlSession>(
          std::make_shared<ExecutorHandler>(session, position), options);
      executor.stream = stream;
      executor.connected = true;
      break;
    }
  }
  if (stream == nullptr) {
    return absl::UnauthenticatedError("hello.secret: no executor of this server");
  }
  spdlog::info("executor connected session={} pid={} peer={}", session->label(), hello.process_id(),
               peer.address);
  session->OnExecutorReady(position,
                           {stream,
                            {hello.transfer_addresses().begin(), hello.transfer_addresses().end()},
                            {hello.peer_addresses().begin(), hello.peer_addresses().end()}});
  return wire::Admission{stream, false, welcome.SerializeAsString()};
}

}  // namespace moai
