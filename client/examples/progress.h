// A progress bar on the terminal for waits that take long enough to wonder about.
#ifndef MOAI_CLIENT_EXAMPLES_PROGRESS_H_
#define MOAI_CLIENT_EXAMPLES_PROGRESS_H_

#include <cstdint>
#include <string>
#include <thread>

#include "base/mutex.h"

namespace moai::examples {

// Redraws a bar on stderr, from a thread of its own, once the wait has lasted a second; silent
// where stderr is no terminal. Any thread may call Advance.
class Progress {
 public:
  Progress(std::string what, int64_t total);
  ~Progress();  // erases the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(int64_t done);

 private:
  void Run();
  void Draw(double seconds, int64_t done) const;

  const std::string what_;
  const int64_t total_;
  Mutex mutex_;
  CondVar changed_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;  // not started where there is no terminal
};

}  // namespace moai::examples

#endif  // MOAI_CLIENT_EXAMPLES_PROGRESS_H_
