// Starts executor processes and learns when they end.
#ifndef MOAI_WORKER_DAEMON_SUPERVISOR_H_
#define MOAI_WORKER_DAEMON_SUPERVISOR_H_

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace moai {

// What to run for one executor.
struct ExecutorProcess {
  uint64_t executor = 0;
  std::vector<uint32_t> devices;
  std::string program;                 // path of the binary
  std::vector<std::string> arguments;  // after the program's name
  std::string input;                   // what it reads from its standard input, to the end
};

// One process at a time on each device: the next one waits until those before have ended, so that
// their memory is free. Processes die with this process, however it ends.
//
// Thread-safe. Owns the thread that starts and reaps: the kernel ties the children to it.
class Supervisor {
 public:
  // Called on the supervisor's thread.
  using Started = std::function<void(uint64_t executor, pid_t process)>;
  // OK where Stop was called for it; otherwise how it ended, in words.
  using Exited = std::function<void(uint64_t executor, const absl::Status& how)>;

  Supervisor(Started started, Exited exited);
  // Kills every process and waits for them. No callback runs after this.
  ~Supervisor();

  void Start(ExecutorProcess process);
  // Kills the process, or forgets it where it has not started yet.
  void Stop(uint64_t executor);
  void StopAll();

 private:
  struct Running {
    std::vector<uint32_t> devices;
    pid_t process = -1;
    int handle = -1;  // a pidfd
    bool stopped = false;
  };

  void Run();
  // Takes what other threads asked for; false at the end.
  bool TakeRequests();
  void StartWaiting();
  void Spawn(const ExecutorProcess& process);
  void Kill(Running& running);
  void Reap(uint64_t executor);
  void Wake();

  const Started started_;
  const Exited exited_;
  int wake_ = -1;  // an eventfd
  Mutex mutex_;
  std::deque<ExecutorProcess> to_start_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint64_t> to_stop_ ABSL_GUARDED_BY(mutex_);
  bool stop_all_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the thread.
  std::deque<ExecutorProcess> waiting_;
  std::map<uint64_t, Running> running_;
  std::thread thread_;
};

}  // namespace moai

#endif  // MOAI_WORKER_DAEMON_SUPERVISOR_H_
