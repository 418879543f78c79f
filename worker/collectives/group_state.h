// What all devices of one process share: whether their links still hold, and the mutex under which
// they wait for each other.
#ifndef MOAI_WORKER_COLLECTIVES_GROUP_STATE_H_
#define MOAI_WORKER_COLLECTIVES_GROUP_STATE_H_

#include <functional>
#include <utility>
#include <vector>

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

 private:
  mutable Mutex mutex_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> breakers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_GROUP_STATE_H_
