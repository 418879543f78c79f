#include "scheduler/pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/fit.h"

namespace moai {
namespace {

// Wherever they are.
bool Alike(const DeviceProfile& a, const DeviceProfile& b) {
  return a.kind == b.kind && a.memory_bytes == b.memory_bytes && a.threads == b.threads;
}

// `count` of the candidates, which are in order of workers, on as few workers as can be.
std::vector<Lease> Choose(absl::Span<const Lease> candidates, size_t count) {
  // Runs of one worker: the first that is enough, else the longest first.
  std::vector<absl::Span<const Lease>> workers;
  for (size_t begin = 0; begin < candidates.size();) {
    size_t end = begin + 1;
    while (end < candidates.size() && candidates[end].worker == candidates[begin].worker) ++end;
    workers.push_back(candidates.subspan(begin, end - begin));
    begin = end;
  }
  std::stable_sort(workers.begin(), workers.end(), [count](const auto& a, const auto& b) {
    return std::min(a.size(), count) > std::min(b.size(), count);
  });
  std::vector<Lease> chosen;
  for (absl::Span<const Lease> worker : workers) {
    for (const Lease& lease : worker) {
      if (chosen.size() < count) chosen.push_back(lease);
    }
  }
  std::sort(chosen.begin(), chosen.end(), [](const Lease& a, const Lease& b) {
    return std::pair(a.worker, a.device) < std::pair(b.worker, b.device);
  });
  return chosen;
}

}  // namespace

uint64_t Pool::AddWorker(std::string name, std::vector<DeviceProfile> devices) {
  Worker worker{std::move(name), {}};
  MutexLock lock(mutex_);
  for (DeviceProfile& profile : devices) {
    profile.node = next_worker_;
    worker.devices.push_back({std::move(profile)});
  }
  workers_.emplace(next_worker_, std::move(worker));
  return next_worker_++;
}

void Pool::RemoveWorker(uint64_t worker) {
  MutexLock lock(mutex_);
  workers_.erase(worker);
}

absl::StatusOr<std::vector<Lease>> Pool::Acquire(size_t count, int64_t memory_bytes) {
  MutexLock lock(mutex_);
  // By profile, the largest memory first.
  std::vector<std::vector<Lease>> alike;
  std::vector<Lease> free;
  size_t large_enough = 0, devices = 0;
  for (const auto& [id, worker] : workers_) {
    for (uint32_t i = 0; i < worker.devices.size(); ++i, ++devices) {
      const Device& device = worker.devices[i];
      if (device.profile.memory_bytes < memory_bytes) continue;
      ++large_enough;
      if (device.leased) continue;
      free.push_back({id, i, device.profile});
      auto group = std::find_if(alike.begin(), alike.end(), [&](const auto& leases) {
        return Alike(leases[0].profile, device.profile);
      });
      if (group == alike.end()) group = alike.emplace(alike.end());
      group->push_back(free.back());
    }
  }
  std::stable_sort(alike.begin(), alike.end(), [](const auto& a, const auto& b) {
    return a[0].profile.memory_bytes > b[0].profile.memory_bytes;
  });
  alike.push_back(free);  // unlike ones only where there is no other way
  for (const std::vector<Lease>& candidates : alike) {
    if (candidates.size() < count) continue;
    std::vector<Lease> chosen = Choose(candidates, count);
    for (const Lease& lease : chosen) {
      workers_.find(lease.worker)->second.devices[lease.device].leased = true;
    }
    return chosen;
  }
  if (devices == 0) {
    return absl::UnavailableError("no worker has registered with this server yet");
  }
  if (large_enough < count) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the accelerator needs ", count, " devices",
                     memory_bytes > 0 ? absl::StrCat(" of ", ReadableBytes(memory_bytes)) : "",
                     "; this server has ", large_enough, "; choose a smaller one"));
  }
  if (free.empty()) {
    return absl::ResourceExhaustedError(absl::StrCat("every device of this server is in use (",
                                                     devices,
                                                     "); try again when a session has ended"));
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "the accelerator needs ", count, " devices; of the ", large_enough, " of this server ",
      free.size(), " are free; try again when a session has ended"));
}

void Pool::Release(absl::Span<const Lease> leases) {
  MutexLock lock(mutex_);
  for (const Lease& lease : leases) {
    auto worker = workers_.find(lease.worker);
    if (worker == workers_.end() || lease.device >= worker->second.devices.size()) continue;
    worker->second.devices[lease.device].leased = false;
  }
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

}  // namespace moai
