// What all devices of one process share: whether their links still hold, which other processes are
// there, and the mutex under which they wait for each other.
#ifndef MOAI_WORKER_COLLECTIVES_GROUP_STATE_H_
#define MOAI_WORKER_COLLECTIVES_GROUP_STATE_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/mutex.h"

namespace moai {

// Thread-safe.
class GroupState {
 public:
  Mutex& mutex() const ABSL_LOCK_RETURNED(mutex_) { return mutex_; }

  absl::Status status() const {
    MutexLock lock(mutex_);
    return error_;
  }
  const absl::Status& error() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return error_; }

  // The first error counts; it is returned. Each breaker is called once, with the mutex held.
  absl::Status Break(const absl::Status& error) {
    MutexLock lock(mutex_);
    if (error_.ok() && !error.ok()) {
      error_ = error;
      for (const auto& breaker : breakers_) breaker();
    }
    return error_;
  }

  // What wakes those who wait. Called at once where the links are broken already.
  void OnBreak(std::function<void()> breaker) {
    MutexLock lock(mutex_);
    if (!error_.ok()) breaker();
    breakers_.push_back(std::move(breaker));
  }

  // Another process has ended well: only who still needs it minds, and gets `error`. What it sent
  // before is there.
  void EndProcess(uint32_t process, const absl::Status& error) {
    MutexLock lock(mutex_);
    ended_.emplace(process, error);
    for (const auto& wake : wakers_) wake();
  }
  // OK where it has not ended.
  absl::Status EndOf(uint32_t process) const {
    MutexLock lock(mutex_);
    const auto end = ended_.find(process);
    return end == ended_.end() ? absl::OkStatus() : end->second;
  }
  // What wakes those who wait for a process that may end, called with the mutex held.
  void OnEndOfProcess(std::function<void()> wake) {
    MutexLock lock(mutex_);
    if (!ended_.empty()) wake();
    wakers_.push_back(std::move(wake));
  }

 private:
  mutable Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint32_t, absl::Status> ended_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> wakers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> breakers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_GROUP_STATE_H_
