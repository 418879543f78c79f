// Commands on their way from the thread that receives them to the thread that runs them.
#ifndef MOAI_WORKER_EXECUTOR_COMMAND_QUEUE_H_
#define MOAI_WORKER_EXECUTOR_COMMAND_QUEUE_H_

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/mutex.h"

namespace moai {

// Messages laid end to end: in the steady state, passing a batch on allocates nothing.
struct CommandBatch {
  std::string bytes;
  std::vector<size_t> ends;

  void Clear() {
    bytes.clear();
    ends.clear();
  }
  size_t size() const { return ends.size(); }
  absl::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return absl::string_view(bytes).substr(begin, ends[i] - begin);
  }
};

// One thread puts, one takes. The taker polls for a while before it sleeps if the last batch was
// small: in a conversation the next command comes at once, and waking up would be most of its time.
class CommandQueue {
 public:
  void Put(absl::string_view command);
  // Wakes the taker. Commands may be put without it while more are coming.
  void Notify();
  // No more commands; Take returns false once all have been taken.
  void Close();

  // Replaces `batch` by everything that has been put. Waits for the first; false at the end. Calls
  // `before_sleep`, at most once, when nothing has come while it polled.
  template <typename BeforeSleep>
  bool Take(CommandBatch& batch, BeforeSleep before_sleep) {
    if (!Poll()) before_sleep();
    return TakeAll(batch);
  }
  bool Take(CommandBatch& batch) {
    return Take(batch, [] {});
  }
  // The same without waiting: false where nothing has come.
  bool TakeIfReady(CommandBatch& batch);

 private:
  // Whether something is there; polls for a while where that is likely to help.
  bool Poll();
  bool TakeAll(CommandBatch& batch);

  static constexpr size_t kConversation = 4;  // commands in a batch

  std::atomic<bool> ready_{false};  // put and notified, or closed
  Mutex mutex_;
  CondVar changed_;
  CommandBatch waiting_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool asleep_ ABSL_GUARDED_BY(mutex_) = false;
  bool spin_ = false;  // of the taker
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_COMMAND_QUEUE_H_
