#include "scheduler/pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/fit.h"

namespace moai {

uint64_t Pool::AddWorker(std::string name, std::vector<DeviceProfile> devices) {
  Worker worker{std::move(name), {}};
  for (DeviceProfile& profile : devices) worker.devices.push_back({std::move(profile)});
  MutexLock lock(mutex_);
  workers_.emplace(next_worker_, std::move(worker));
  return next_worker_++;
}

void Pool::RemoveWorker(uint64_t worker) {
  MutexLock lock(mutex_);
  workers_.erase(worker);
}

absl::StatusOr<Lease> Pool::Acquire() {
  MutexLock lock(mutex_);
  Lease lease;
  Device* best = nullptr;
  size_t devices = 0;
  for (auto& [id, worker] : workers_) {
    for (uint32_t i = 0; i < worker.devices.size(); ++i, ++devices) {
      Device& device = worker.devices[i];
      if (device.leased) continue;
      if (best != nullptr && device.profile.memory_bytes <= best->profile.memory_bytes) continue;
      best = &device;
      lease = {id, i, device.profile};
    }
  }
  if (best != nullptr) {
    best->leased = true;
    return lease;
  }
  if (devices == 0) {
    return absl::UnavailableError("no worker has registered with this server yet");
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "every device of this server is in use (", devices, "); try again when a session has ended"));
}

void Pool::Release(const Lease& lease) {
  MutexLock lock(mutex_);
  auto worker = workers_.find(lease.worker);
  if (worker == workers_.end() || lease.device >= worker->second.devices.size()) return;
  worker->second.devices[lease.device].leased = false;
}

std::vector<DeviceProfile> Pool::Profiles() const {
  MutexLock lock(mutex_);
  std::vector<DeviceProfile> profiles;
  for (const auto& [id, worker] : workers_) {
    for (const Device& device : worker.devices) profiles.push_back(device.profile);
  }
  return profiles;
}

std::vector<PoolDevice> Pool::Devices() const {
  MutexLock lock(mutex_);
  std::vector<PoolDevice> devices;
  for (const auto& [id, worker] : workers_) {
    for (uint32_t i = 0; i < worker.devices.size(); ++i) {
      devices.push_back({id, worker.name, i, worker.devices[i].profile, worker.devices[i].leased});
    }
  }
  return devices;
}

std::string FlavorName(const DeviceProfile& profile) {
  return absl::StrCat("Local.", ShortBytes(profile.memory_bytes));
}

}  // namespace moai
