// The wait before a wait: polls for what another thread is about to do.
#ifndef MOAI_BASE_SPIN_WAIT_H_
#define MOAI_BASE_SPIN_WAIT_H_

#include <sched.h>

#include <chrono>

namespace moai {

// Polling finds a peer's answer without the cost of waking up, some 50 us, and harms nobody while
// the other threads that want the core wait like this one: each has it for a moment. A thread that
// computes keeps it for longer, and every poll would then interrupt it again; so the first poll
// that comes back late is the last one.
//
//   for (SpinWait spin; !done && spin.Again();) {
//   }
class SpinWait {
 public:
  // Offers the core to others, once. False when it is time to block.
  bool Again() {
    sched_yield();
    const Clock::time_point now = Clock::now();
    const bool late = now - last_ > kLate;
    last_ = now;
    return !late && now < end_ && ++polls_ < kPolls;
  }

 private:
  using Clock = std::chrono::steady_clock;
  // On a core that nobody else wants, some 100 us.
  static constexpr int kPolls = 200;
  // Longer than what a thread does for one message of a conversation.
  static constexpr std::chrono::microseconds kLate{200};
  // Longer than a round trip of several processes that share a core.
  static constexpr std::chrono::milliseconds kPatience{1};

  int polls_ = 0;
  Clock::time_point last_ = Clock::now();
  const Clock::time_point end_ = last_ + kPatience;
};

}  // namespace moai

#endif  // MOAI_BASE_SPIN_WAIT_H_
