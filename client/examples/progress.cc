#include "client/examples/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "absl/strings/str_format.h"

namespace moai::examples {

using Clock = std::chrono::steady_clock;

Progress::Progress(std::string what, int64_t total)
    : what_(std::move(what)), total_(std::max<int64_t>(1, total)) {
  if (isatty(STDERR_FILENO) == 1) thread_ = std::thread([this] { Run(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    finished_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Progress::Advance(int64_t done) {
  MutexLock lock(mutex_);
  done_ = done;
}

void Progress::Run() {
  const Clock::time_point begin = Clock::now();
  Clock::time_point next = begin + std::chrono::seconds(1);
  bool drawn = false;
  MutexLock lock(mutex_);
  while (!finished_) {
    if (changed_.WaitUntil(mutex_, next)) continue;
    Draw(std::chrono::duration<double>(Clock::now() - begin).count(), done_);
    drawn = true;
    next = Clock::now() + std::chrono::milliseconds(200);
  }
  if (drawn) std::fputs("\r\x1b[K", stderr);
}

void Progress::Draw(double seconds, int64_t done) const {
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(kWidth * std::min(done, total_) / total_);
  absl::FPrintF(stderr, "\r%s [%s%s] %d/%d  %.0f s\x1b[K", what_, std::string(filled, '='),
                std::string(kWidth - filled, ' '), done, total_, seconds);
  std::fflush(stderr);
}

}  // namespace moai::examples
