// What the devices of one executor tell, as one: the server hears how far the slowest has come, and
// gets one answer to what all were asked.
#ifndef MOAI_WORKER_EXECUTOR_DEVICE_EVENTS_H_
#define MOAI_WORKER_EXECUTOR_DEVICE_EVENTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "proto/worker.pb.h"
#include "worker/executor/command_runner.h"

namespace moai {

// Thread-safe; what it gives for a device belongs to that device's thread.
class DeviceEvents {
 public:
  // `sink` outlives this, and is called by one thread at a time.
  DeviceEvents(size_t devices, EventSink* sink);
  ~DeviceEvents();

  // Where the device of this position tells what it has to tell.
  EventSink* For(size_t device);

 private:
  class Device;

  struct Progress {
    uint64_t commands = 0;
    uint64_t step = 0;
  };
  struct Synchronization {
    size_t answers = 0;
    std::vector<proto::SynchronizeResult> results;  // by device
  };

  void Send(size_t device, const proto::ExecutorEvent& event);
  void Flush();
  void TakeProgress(size_t device, const proto::CommandsDone& done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeSynchronization(size_t device, const proto::SynchronizeResult& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  EventSink* const sink_;
  std::vector<std::unique_ptr<Device>> devices_;
  Mutex mutex_;
  std::vector<Progress> progress_ ABSL_GUARDED_BY(mutex_);
  uint64_t told_ ABSL_GUARDED_BY(mutex_) = 0;                                     // commands
  std::map<uint64_t, Synchronization> synchronizations_ ABSL_GUARDED_BY(mutex_);  // by request
  proto::ExecutorEvent event_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_DEVICE_EVENTS_H_
