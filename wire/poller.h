// A thread that takes events from one gRPC completion queue and runs what they complete.
//
// Before it blocks, the thread polls for a while and gives up the core between polls: a request
// that answers an answer finds it awake, which halves the latency of a round trip through several
// processes. An idle process blocks and uses no core; under load that comes many messages at a time
// polling only costs, and is left out.
//
// Includes gRPC: for .cc files of wire/ only.
#ifndef MOAI_WIRE_POLLER_H_
#define MOAI_WIRE_POLLER_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_set>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace moai::wire {

// The tag of an operation on a completion queue.
class Completion {
 public:
  virtual ~Completion() = default;
  // On the poller's thread. May delete this.
  virtual void OnComplete(bool ok) = 0;
};

class Poller {
 public:
  explicit Poller(std::unique_ptr<grpc::CompletionQueue> queue);
  // Not on the poller's own thread.
  ~Poller();

  grpc::CompletionQueue* queue() { return queue_.get(); }

  // Runs `task(true)` on the poller's thread at `when`, or `task(false)` once the poller shuts
  // down: on its thread while streams remain, and before this returns once the thread has ended.
  void RunAt(std::chrono::system_clock::time_point when, std::function<void(bool)> task);
  void RunAfter(std::chrono::milliseconds delay, std::function<void(bool)> task) {
    RunAt(std::chrono::system_clock::now() + delay, std::move(task));
  }
  void RunSoon(std::function<void(bool)> task) { RunAfter({}, std::move(task)); }

  // How many messages came with the last event: tells load from conversation. On its thread.
  void NoteMessages(size_t count) { interactive_ = count <= 2; }

  bool OnThisThread() const { return thread_.get_id() == std::this_thread::get_id(); }

  // Waits for the streams on the queue to end, then stops the thread. Whoever calls it has
  // cancelled them, and begins no new one.
  void Shutdown();

  // Counts the streams that use the queue.
  void StreamBegan();
  void StreamEnded();

 private:
  class Task;

  void Run();
  bool Next(void** tag, bool* ok);

  std::unique_ptr<grpc::CompletionQueue> queue_;
  bool interactive_ = false;  // of the poller's thread
  std::atomic<uint64_t> tasks_made_ = 0;
  Mutex mutex_;
  std::unordered_set<Task*> tasks_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // tasks run at once, with false
  bool down_ ABSL_GUARDED_BY(mutex_) = false;     // the queue takes nothing any more
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  CondVar unused_;      // no streams and no tasks
  std::thread thread_;  // last: uses everything above
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_POLLER_H_
