#include "server/front_door.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/utf8.h"
#include "base/version.h"
#include "scheduler/flavors.h"
#include "server/virtual_devices.h"
#include "spdlog/spdlog.h"
#include "wire/handshake.h"
#include "wire/random_id.h"

namespace moai {
namespace {

// What a peer may say of itself is cut here.
constexpr size_t kMaxName = 256;

// What a peer calls itself, fit for one log line.
std::string ForLog(absl::string_view name) { return absl::CHexEscape(name.substr(0, 64)); }

}  // namespace

FrontDoor::FrontDoor(Pool* pool, FlavorChoice* flavors, Planner* planner, ThreadPool* planning,
                     WorkerRegistry* workers, Jobs* jobs, std::string token,
                     std::chrono::seconds lease)
    : pool_(pool),
      flavors_(flavors),
      planner_(planner),
      planning_(planning),
      workers_(workers),
      jobs_(jobs),
      token_(std::move(token)),
      lease_(lease) {}

absl::StatusOr<wire::Admission> FrontDoor::OnHello(absl::string_view bytes,
                                                   const wire::PeerInfo& peer) {
  proto::Hello hello;
  if (!hello.ParseFromArray(bytes.data(), int(bytes.size()))) {
    return absl::InvalidArgumentError("hello: cannot be parsed as a Hello");
  }
  proto::Welcome welcome;
  MOAI_ASSIGN_OR_RETURN(const uint32_t version,
                        wire::NegotiateVersion(hello.min_version(), hello.max_version(), "client"));
  welcome.set_version(version);
  for (const std::string& feature :
       wire::CommonFeatures({hello.features().begin(), hello.features().end()})) {
    welcome.add_features(feature);
  }
  if (!token_.empty() && !wire::EqualSecrets(hello.token(), token_)) {
    spdlog::warn("client refused peer={} reason=\"wrong token\"", peer.address);
    return absl::UnauthenticatedError(
        "hello.token: is not known to this server; set MOAI_TOKEN to the one you were given");
  }
  welcome.set_lease_seconds(uint32_t(lease_.count()));
  welcome.set_server_version(kVersion);
  return hello.session_id().empty() ? Begin(hello, std::move(welcome), peer)
                                    : Resume(hello, std::move(welcome));
}

absl::StatusOr<wire::Admission> FrontDoor::Resume(const proto::Hello& hello,
                                                  proto::Welcome welcome) {
  MutexLock lock(mutex_);
  auto entry = sessions_.find(hello.session_id());
  auto stream = entry == sessions_.end() ? nullptr : entry->second.stream.lock();
  if (stream == nullptr) {
    return absl::NotFoundError(
        "hello.session_id: the session has ended, its lease is over, or the server was restarted");
  }
  welcome.set_session_id(hello.session_id());
  welcome.set_job_id(entry->second.job);
  welcome.set_resumed(true);
  welcome.set_accelerator(entry->second.accelerator);
  welcome.set_memory_bytes(uint64_t(entry->second.memory_bytes));
  return wire::Admission{stream, true, welcome.SerializeAsString()};
}

absl::StatusOr<wire::Admission> FrontDoor::Begin(const proto::Hello& hello, proto::Welcome welcome,
                                                 const wire::PeerInfo& peer) {
  FlavorRequest wish{.token = hello.token()};
  if (hello.has_visible_device()) wish.visible_device = hello.visible_device();
  MOAI_ASSIGN_OR_RETURN(const ChosenFlavor chosen, flavors_->Current(wish));
  const int64_t device_memory = chosen.flavor.device_memory_bytes;
  MOAI_ASSIGN_OR_RETURN(std::vector<Lease> leases,
                        pool_->Acquire(size_t(std::max(1, chosen.flavor.devices)), device_memory));
  for (Lease& lease : leases) {
    // What the flavor says, on devices with more too.
    if (device_memory > 0) lease.profile.memory_bytes = device_memory;
  }
  const std::string session_id = wire::NewRandomId();
  Entry entry;
  {
    MutexLock lock(mutex_);
    entry.job = next_job_++;
  }
  const std::string label = absl::StrCat(entry.job);
  const std::vector<DeviceProfile> pool = pool_->Profiles();
  SessionSettings settings;
  settings.label = label;
  settings.executors = ExecutorDevices(leases);
  for (const Lease& lease : leases) {
    settings.devices.push_back(lease.profile);
    entry.memory_bytes += lease.profile.memory_bytes;
  }
  // What the only device is short of, a larger one may have.
  if (leases.size() == 1) settings.flavors = pool;
  for (const Flavor& flavor : FlavorsOfPool(pool)) {
    settings.larger.push_back({flavor.name, flavor.devices, flavor.device_memory_bytes});
  }
  auto session = std::make_shared<Session>(label, std::move(settings), planner_, planning_,
                                           [this, session_id] { Forget(session_id); });
  auto executors = workers_->StartExecutors(leases, session);
  if (!executors.ok()) {
    pool_->Release(leases);
    return executors.status();
  }
  auto stream =
      std::make_shared<wire::ControlSession>(session, wire::ControlSessionOptions{.lease = lease_});
  session->SetClient(stream);
  entry.stream = stream;
  entry.executors = *std::move(executors);
  entry.accelerator =
      !chosen.flavor.name.empty()
          ? chosen.flavor.name
          : StandardFlavorName(int(leases.size()), leases.back().profile.memory_bytes);
  welcome.set_session_id(session_id);
  welcome.set_job_id(entry.job);
  welcome.set_accelerator(entry.accelerator);
  welcome.set_memory_bytes(uint64_t(entry.memory_bytes));
  Job job{.id = entry.job,
          .identity = VirtualDevices::IdentityOf(hello.token()),
          .virtual_device = chosen.virtual_device,
          .flavor = entry.accelerator,
          .process_id = hello.process_id(),
          .process_name = ValidUtf8(hello.process_name(), kMaxName),
          .host_name = ValidUtf8(hello.host_name(), kMaxName),
          .devices = leases};
  {
    MutexLock lock(mutex_);
    sessions_[session_id] = std::move(entry);
  }
  jobs_->Add(std::move(job), session->meter(), session->record(),
             [weak = std::weak_ptr<wire::ControlSession>(stream)] {
               const auto open = weak.lock();
               if (open == nullptr) return;
               open->Close(absl::CancelledError("the job was stopped by `moreh-smi --reset`"));
             });
  spdlog::info(
      "session started session={} client=\"{}\" pid={} host=\"{}\" peer={} devices={} workers={}",
      label, ForLog(hello.process_name()), hello.process_id(), ForLog(hello.host_name()),
      peer.address, leases.size(), ExecutorDevices(leases).size());
  return wire::Admission{stream, false, welcome.SerializeAsString()};
}

void FrontDoor::Forget(const std::string& session_id) {
  std::vector<uint64_t> executors;
  uint64_t job = 0;
  {
    MutexLock lock(mutex_);
    auto entry = sessions_.find(session_id);
    if (entry == sessions_.end()) return;
    executors = std::move(entry->second.executors);
    job = entry->second.job;
    sessions_.erase(entry);
  }
  workers_->StopExecutors(executors);
  jobs_->Remove(job);
}

}  // namespace moai
