// Messages between devices of one process. Nothing is copied on the way: a letter is an address,
// and the receiver reads the sender's memory until it says that it is done.
#ifndef MOAI_WORKER_COLLECTIVES_LOCAL_MAIL_H_
#define MOAI_WORKER_COLLECTIVES_LOCAL_MAIL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "worker/collectives/group_state.h"

namespace moai {

// Devices are named by their position in the process. Each calls from a thread of its own, and has
// at most one letter on its way to each other device. Waits block; there may be many more devices
// than cores.
class LocalMail {
 public:
  using Clock = std::chrono::steady_clock;

  // `state` outlives it; when that breaks, every wait ends with its error.
  LocalMail(size_t devices, GroupState* state);
  LocalMail(const LocalMail&) = delete;
  LocalMail& operator=(const LocalMail&) = delete;

  // `data` stays as it is until AwaitRead. The receiver sees it no earlier than `arrival`.
  absl::Status Post(size_t from, size_t to, const std::byte* data, int64_t bytes,
                    Clock::time_point arrival);

  struct Letter {
    const std::byte* data = nullptr;
    int64_t bytes = 0;
  };
  // The letter from `from`. The memory may be read until Done, which must follow. DeadlineExceeded
  // where it did not come.
  absl::StatusOr<Letter> Await(size_t from, size_t to, Clock::time_point deadline);
  void Done(size_t from, size_t to);

  // Until all letters of this device have been read. After an error, too, nobody reads them any
  // more when it returns.
  absl::Status AwaitRead(size_t from, Clock::time_point deadline);

  // Blocks the device until a time, unless the state breaks.
  absl::Status SleepUntil(size_t device, Clock::time_point time);

 private:
  enum class LetterState : uint8_t { kNone, kPosted, kBeingRead };
  struct Slot {
    LetterState state = LetterState::kNone;
    Letter letter;
    Clock::time_point arrival{};
  };
  static constexpr size_t kNobody = ~size_t{0};
  struct Device {
    CondVar wake;
    size_t waits_for = kNobody;  // a sender: wakes only when its letter is there
    bool waits_for_readers = false;
    size_t unread = 0;      // own letters that are posted or being read
    size_t being_read = 0;  // of these
  };

  Slot& At(size_t from, size_t to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex()) {
    return slots_[from * devices_.size() + to];
  }

  GroupState* const state_;
  std::vector<Slot> slots_ ABSL_GUARDED_BY(state_->mutex());
  std::vector<Device> devices_;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_LOCAL_MAIL_H_
