// What the executor thread and the threads that move bulk bytes tell each other about one transfer.
#ifndef MOAI_WORKER_EXECUTOR_TRANSFER_GATE_H_
#define MOAI_WORKER_EXECUTOR_TRANSFER_GATE_H_

#include <atomic>
#include <chrono>
#include <utility>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace moai {

// Closed until the transfer is over, well or not; then open for good. Thread-safe.
class TransferGate {
 public:
  explicit TransferGate(std::chrono::steady_clock::time_point deadline) : deadline_(deadline) {}

  // The first call counts; later ones do nothing.
  void Open(absl::Status status) {
    MutexLock lock(mutex_);
    if (open_.load(std::memory_order_relaxed)) return;
    status_ = std::move(status);
    open_.store(true, std::memory_order_release);
    condition_.NotifyAll();
  }

  bool open() const { return open_.load(std::memory_order_acquire); }

  // Blocks until the gate opens, and returns how the transfer went. Past the deadline it opens the
  // gate itself, with DeadlineExceeded.
  absl::Status Wait() {
    MutexLock lock(mutex_);
    while (!open_.load(std::memory_order_relaxed)) {
      if (condition_.WaitUntil(mutex_, deadline_)) continue;
      if (open_.load(std::memory_order_relaxed)) break;
      status_ = absl::DeadlineExceededError("the transfer did not end before its ticket expired");
      open_.store(true, std::memory_order_release);
    }
    return status_;
  }

 private:
  const std::chrono::steady_clock::time_point deadline_;
  Mutex mutex_;
  CondVar condition_;
  std::atomic<bool> open_{false};
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_TRANSFER_GATE_H_
