// The devices of all registered workers, and who holds them. A device is leased to one session at a
// time.
#ifndef MOAI_SCHEDULER_POOL_H_
#define MOAI_SCHEDULER_POOL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace moai {

struct MeasuredNode;  // scheduler/cost/measured_device.h

// What the planner knows of a device.
struct DeviceProfile {
  std::string kind;          // "cpu"
  int64_t memory_bytes = 0;  // what sessions may use
  int threads = 1;           // that its kernels use
  uint64_t node = 0;         // devices with equal numbers are of one worker
  // What its worker measured of it and of the links to its neighbours; null: nothing.
  std::shared_ptr<const MeasuredNode> measured = nullptr;
  std::string host;  // workers with equal names, not empty, can share memory
};

struct Lease {
  uint64_t worker = 0;
  uint32_t device = 0;  // position among the worker's devices
  DeviceProfile profile;
};

// A device as people see it.
struct PoolDevice {
  uint64_t worker = 0;
  std::string worker_name;
  uint32_t device = 0;  // position among the worker's devices
  DeviceProfile profile;
  bool leased = false;
};

// Thread-safe.
class Pool {
 public:
  // Returns the worker's name in this pool.
  uint64_t AddWorker(std::string name, std::vector<DeviceProfile> devices);
  // Its leases end with it: releasing them later does nothing.
  void RemoveWorker(uint64_t worker);

  // So many free devices of at least so much memory: alike and on as few workers as can be, with
  // the most memory, of equal ones the first. In order of workers, then devices. ResourceExhausted
  // where too many are in use or too few exist, Unavailable where there is no worker.
  absl::StatusOr<std::vector<Lease>> Acquire(size_t count, int64_t memory_bytes = 0);
  void Release(absl::Span<const Lease> leases);

  // Of all devices, free or not.
  std::vector<DeviceProfile> Profiles() const;
  std::vector<PoolDevice> Devices() const;

 private:
  struct Device {
    DeviceProfile profile;
    bool leased = false;
  };
  struct Worker {
    std::string name;
    std::vector<Device> devices;
  };

  mutable Mutex mutex_;
  uint64_t next_worker_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Worker> workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_POOL_H_
