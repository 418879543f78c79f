// Processes that a test forks from itself, each with a connection to it.
#ifndef MOAI_TESTS_PARALLEL_FORKED_PROCESSES_H_
#define MOAI_TESTS_PARALLEL_FORKED_PROCESSES_H_

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace moai {

// One end of a connection, on which strings are passed in order. Owns the descriptor.
class StringPipe {
 public:
  explicit StringPipe(int descriptor) : descriptor_(descriptor) {}
  ~StringPipe();
  StringPipe(StringPipe&& other) noexcept;
  StringPipe(const StringPipe&) = delete;
  StringPipe& operator=(const StringPipe&) = delete;

  // False where the other end is gone.
  bool Write(const std::string& text);
  // Nothing where the other end is gone.
  std::optional<std::string> Read();

 private:
  int descriptor_;
};

// They end with this, and with the test.
class ForkedProcesses {
 public:
  // Each runs `run` with its number and the connection to this process, and ends after it. Requires
  // that this process has one thread.
  ForkedProcesses(int count, const std::function<void(int process, StringPipe& parent)>& run);
  ~ForkedProcesses();

  int count() const { return int(pipes_.size()); }
  StringPipe& pipe(int process) { return pipes_[size_t(process)]; }

 private:
  std::vector<StringPipe> pipes_;
  std::vector<pid_t> processes_;
};

}  // namespace moai

#endif  // MOAI_TESTS_PARALLEL_FORKED_PROCESSES_H_
