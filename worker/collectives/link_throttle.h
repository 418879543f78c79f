// A stated speed of the links between devices, slower than what this machine's are: so that
// communication matters in a measurement or a demonstration on one machine. Off by default.
#ifndef MOAI_WORKER_COLLECTIVES_LINK_THROTTLE_H_
#define MOAI_WORKER_COLLECTIVES_LINK_THROTTLE_H_

#include <chrono>
#include <cstdint>

namespace moai {

struct LinkThrottle {
  double bytes_per_second = 0;  // of each sending device; 0: not limited
  double latency_us = 0;        // added to each message; who sends does not wait for it
  bool in_process = false;      // also between devices of one process
  bool on() const { return bytes_per_second > 0 || latency_us > 0; }
};

// The clock of one sending device: messages leave one after another at the stated rate, and arrive
// the latency later. Not synchronised.
class LinkPacer {
 public:
  using Clock = std::chrono::steady_clock;
  explicit LinkPacer(const LinkThrottle& throttle) : throttle_(throttle) {}

  // When a message of `bytes` that is handed over at `now` has arrived.
  Clock::time_point Arrival(int64_t bytes, Clock::time_point now) {
    if (free_ < now) free_ = now;
    if (throttle_.bytes_per_second > 0) {
      free_ += Seconds(static_cast<double>(bytes) / throttle_.bytes_per_second);
    }
    return free_ + Seconds(throttle_.latency_us * 1e-6);
  }

 private:
  static Clock::duration Seconds(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  LinkThrottle throttle_;
  Clock::time_point free_{};  // the link is busy until then
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_LINK_THROTTLE_H_
