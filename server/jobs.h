// The programs that run now, for the people who look at them from outside, and the way to end one.
#ifndef MOAI_SERVER_JOBS_H_
#define MOAI_SERVER_JOBS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "scheduler/pool.h"
#include "server/step_record.h"
#include "server/use_meter.h"

namespace moai {

// A session as people see it.
struct Job {
  uint64_t id = 0;
  std::string identity;
  uint32_t virtual_device = 0;  // of the identity
  std::string flavor;
  // The client's, as it says.
  uint64_t process_id = 0;
  std::string process_name;
  std::string host_name;
  std::vector<Lease> devices;  // in the order of the session
};

struct RunningJob {
  Job job;
  SessionUse use;
  std::shared_ptr<const StepRecord> record;
};

// Thread-safe.
class Jobs {
 public:
  // `stop` asks the session to end, on any thread; the job is there until Remove.
  void Add(Job job, std::shared_ptr<const UseMeter> meter, std::shared_ptr<const StepRecord> record,
           std::function<void()> stop);
  void Remove(uint64_t id);

  // Of all identities, in the order of their ids.
  std::vector<RunningJob> List() const;
  bool Runs(absl::string_view identity, uint32_t virtual_device) const;

  // Ends what runs on a virtual device, and waits up to `patience` for it to be gone. Returns the
  // ids of the jobs that have ended so.
  std::vector<uint64_t> Stop(absl::string_view identity, uint32_t virtual_device,
                             std::chrono::milliseconds patience);

 private:
  struct Entry {
    Job job;
    std::shared_ptr<const UseMeter> meter;
    std::shared_ptr<const StepRecord> record;
    std::function<void()> stop;
  };

  mutable Mutex mutex_;
  CondVar removed_;
  std::map<uint64_t, Entry> jobs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_SERVER_JOBS_H_
