// The memory of one CPU device: page-aligned regions up to a stated limit.
//
// Freed regions are kept and given out again, so that the steady state of a training loop makes no
// system calls and faults no pages. What is kept never raises the process above the peak of what
// was in use at once: the resident size follows the planner's map.
#ifndef MOAI_WORKER_EXECUTOR_DEVICE_MEMORY_H_
#define MOAI_WORKER_EXECUTOR_DEVICE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace moai {

// Thread-safe.
class DeviceMemory {
 public:
  explicit DeviceMemory(int64_t limit) : limit_(limit) {}
  ~DeviceMemory();  // Requires that every region has been freed.
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Takes AllocatedBytes(bytes) of the limit, aligned to at least 64. Contents are unspecified, but
  // never those of another process. ResourceExhausted over the limit.
  absl::StatusOr<std::byte*> Allocate(int64_t bytes);
  // `bytes` as given to Allocate.
  void Free(std::byte* address, int64_t bytes);

  int64_t limit() const { return limit_; }
  int64_t in_use() const;
  int64_t peak() const;
  int64_t kept() const;  // freed but not returned to the system; at most peak() - in_use()

 private:
  static constexpr int kSmallClasses = 6;  // 64, 128, ..., 2048 bytes

  static int SmallClass(int64_t bytes);
  std::byte* TakeSmall(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::byte* TakePages(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns kept regions to the system until at most `bytes` are kept.
  void ShrinkKept(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t limit_;
  mutable Mutex mutex_;
  int64_t in_use_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t peak_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t kept_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes in kept_pages_
  absl::flat_hash_map<int64_t, std::vector<std::byte*>> kept_pages_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::byte*> small_[kSmallClasses] ABSL_GUARDED_BY(mutex_);
  std::vector<std::byte*> slabs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_DEVICE_MEMORY_H_
