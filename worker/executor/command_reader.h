// A device's commands one after the other, as its thread takes them from their queue.
#ifndef MOAI_WORKER_EXECUTOR_COMMAND_READER_H_
#define MOAI_WORKER_EXECUTOR_COMMAND_READER_H_

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/string_view.h"
#include "worker/executor/command_queue.h"

namespace moai {

// One thread.
class CommandReader {
 public:
  // `queue` outlives the reader.
  explicit CommandReader(CommandQueue* queue) : queue_(queue) {}

  // The next command, valid until the next call; waits for it. Nothing at the end. Calls
  // `after_last` when no other command is at hand, and `before_sleep` when none has come soon
  // after.
  template <typename AfterLast, typename BeforeSleep>
  std::optional<absl::string_view> Next(AfterLast after_last, BeforeSleep before_sleep) {
    if (next_ < batch_.size()) return batch_[next_++];
    next_ = 0;
    batch_.Clear();
    if (following_.size() > 0) {
      std::swap(batch_, following_);
    } else {
      after_last();
      // A queue may be notified where everything has been taken.
      while (batch_.size() == 0) {
        if (!queue_->Take(batch_, before_sleep)) return std::nullopt;
      }
    }
    return batch_[next_++];
  }

  // The command that comes so many after the next one, if it is here; valid as long as the last
  // one that Next gave.
  std::optional<absl::string_view> Peek(size_t distance) {
    const size_t left = batch_.size() - next_;
    if (distance < left) return batch_[next_ + distance];
    if (following_.size() == 0) queue_->TakeIfReady(following_);
    distance -= left;
    if (distance < following_.size()) return following_[distance];
    return std::nullopt;
  }

 private:
  CommandQueue* const queue_;
  CommandBatch batch_;      // of which the first `next_` have been given
  CommandBatch following_;  // taken by Peek
  size_t next_ = 0;
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_COMMAND_READER_H_
