// How much of its devices a session uses, for people who look at it from outside: the memory that
// the server accounts to it, and the share of the last second in which it had commands on its way
// to the devices.
#ifndef MOAI_SERVER_USE_METER_H_
#define MOAI_SERVER_USE_METER_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/mutex.h"

namespace moai {

struct SessionUse {
  std::vector<int64_t> memory_bytes;  // by device of the session
  double utilization = 0;             // 0 to 1
};

// Thread-safe, and never waits for a plan as the session's own lock does.
class UseMeter {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // From now on, until the next call. `now` never goes back.
  void Note(absl::Span<const int64_t> memory_bytes, bool busy, Time now);
  SessionUse Read(Time now) const;

 private:
  // The second is counted in slices; the oldest goes as a whole.
  static constexpr std::chrono::nanoseconds kSlice = std::chrono::milliseconds(50);
  static constexpr int64_t kSlices = 20;

  struct Slice {
    int64_t index = -1;  // time since the clock's epoch, in slices
    std::chrono::nanoseconds busy{};
  };

  // Adds the time from `begin` to `end` to the slices it falls into.
  static void Add(std::array<Slice, kSlices + 1>& slices, Time begin, Time end);

  mutable Mutex mutex_;
  std::vector<int64_t> memory_bytes_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  Time since_ ABSL_GUARDED_BY(mutex_);  // what is before is in the slices
  std::array<Slice, kSlices + 1> slices_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_SERVER_USE_METER_H_
