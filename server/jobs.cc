#include "server/jobs.h"

#include <algorithm>
#include <utility>

namespace moai {

void Jobs::Add(Job job, std::shared_ptr<const UseMeter> meter,
               std::shared_ptr<const StepRecord> record, std::function<void()> stop) {
  const uint64_t id = job.id;
  MutexLock lock(mutex_);
  jobs_[id] = {std::move(job), std::move(meter), std::move(record), std::move(stop)};
}

void Jobs::Remove(uint64_t id) {
  MutexLock lock(mutex_);
  jobs_.erase(id);
  removed_.NotifyAll();
}

std::vector<RunningJob> Jobs::List() const {
  const auto now = std::chrono::steady_clock::now();
  MutexLock lock(mutex_);
  std::vector<RunningJob> list;
  for (const auto& [id, entry] : jobs_) {
    list.push_back({entry.job, entry.meter->Read(now), entry.record});
  }
  return list;
}

bool Jobs::Runs(absl::string_view identity, uint32_t virtual_device) const {
  MutexLock lock(mutex_);
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const Job& job = entry.second.job;
    return job.identity == identity && job.virtual_device == virtual_device;
  });
}

std::vector<uint64_t> Jobs::Stop(absl::string_view identity, uint32_t virtual_device,
                                 std::chrono::milliseconds patience) {
  std::vector<uint64_t> stopped;
  std::vector<std::function<void()>> stops;
  {
    MutexLock lock(mutex_);
    for (const auto& [id, entry] : jobs_) {
      if (entry.job.identity != identity || entry.job.virtual_device != virtual_device) continue;
      stopped.push_back(id);
      stops.push_back(entry.stop);
    }
  }
  // Without the lock: what ends at once calls Remove.
  for (const auto& stop : stops) stop();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  MutexLock lock(mutex_);
  const auto running = [&](uint64_t id)
                           ABSL_NO_THREAD_SAFETY_ANALYSIS { return jobs_.count(id) > 0; };
  while (std::any_of(stopped.begin(), stopped.end(), running)) {
    if (!removed_.WaitUntil(mutex_, deadline)) break;
  }
  stopped.erase(std::remove_if(stopped.begin(), stopped.end(), running), stopped.end());
  return stopped;
}

}  // namespace moai
