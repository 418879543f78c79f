#include "worker/daemon/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;

namespace moai {
namespace {

absl::Status HowItEnded(pid_t process, int status) {
  if (WIFSIGNALED(status)) {
    return absl::UnavailableError(absl::StrCat("executor process ", process,
                                               " was killed by signal ", WTERMSIG(status), " (",
                                               strsignal(WTERMSIG(status)), ")"));
  }
  return absl::UnavailableError(absl::StrCat("executor process ", process, " ended with status ",
                                             WIFEXITED(status) ? WEXITSTATUS(status) : -1));
}

// A file that holds `content` and is gone when closed, positioned at its start.
int MemoryFile(const std::string& content) {
  const int file = memfd_create("moai-executor-config", MFD_CLOEXEC);
  if (file < 0) return -1;
  size_t written = 0;
  while (written < content.size()) {
    const ssize_t n = write(file, content.data() + written, content.size() - written);
    if (n <= 0) {
      close(file);
      return -1;
    }
    written += size_t(n);
  }
  lseek(file, 0, SEEK_SET);
  return file;
}

}  // namespace

Supervisor::Supervisor(Started started, Exited exited)
    : started_(std::move(started)),
      exited_(std::move(exited)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

Supervisor::~Supervisor() {
  {
    MutexLock lock(mutex_);
    ended_ = true;
  }
  Wake();
  thread_.join();
  close(wake_);
}

void Supervisor::Wake() {
  const uint64_t one = 1;
  // Full only where a wake-up is due anyway.
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void Supervisor::Start(ExecutorProcess process) {
  {
    MutexLock lock(mutex_);
    to_start_.push_back(std::move(process));
  }
  Wake();
}

void Supervisor::Stop(uint64_t executor) {
  {
    MutexLock lock(mutex_);
    to_stop_.push_back(executor);
  }
  Wake();
}

void Supervisor::StopAll() {
  {
    MutexLock lock(mutex_);
    stop_all_ = true;
    to_start_.clear();
  }
  Wake();
}

void Supervisor::Run() {
  while (TakeRequests()) {
    StartWaiting();
    std::vector<pollfd> files = {{wake_, POLLIN, 0}};
    std::vector<uint64_t> executors = {0};
    for (const auto& [executor, running] : running_) {
      files.push_back({running.handle, POLLIN, 0});
      executors.push_back(executor);
    }
    if (poll(files.data(), files.size(), -1) < 0 && errno != EINTR) break;
    uint64_t count;
    while (read(wake_, &count, sizeof(count)) > 0) {
    }
    for (size_t i = 1; i < files.size(); ++i) {
      if (files[i].revents != 0) Reap(executors[i]);
    }
  }
  for (auto& [executor, running] : running_) Kill(running);
  for (auto& [executor, running] : running_) {
    waitpid(running.process, nullptr, 0);
    close(running.handle);
  }
  running_.clear();
}

bool Supervisor::TakeRequests() {
  std::deque<uint64_t> to_stop;
  bool stop_all = false;
  {
    MutexLock lock(mutex_);
    if (ended_) return false;
    for (ExecutorProcess& process : to_start_) waiting_.push_back(std::move(process));
    to_start_.clear();
    to_stop.swap(to_stop_);
    stop_all = std::exchange(stop_all_, false);
  }
  if (stop_all) {
    waiting_.clear();
    for (auto& [executor, running] : running_) Kill(running);
  }
  for (uint64_t executor : to_stop) {
    if (auto running = running_.find(executor); running != running_.end()) Kill(running->second);
    const size_t forgotten = std::erase_if(
        waiting_, [&](const ExecutorProcess& process) { return process.executor == executor; });
    if (forgotten > 0) exited_(executor, absl::OkStatus());
  }
  return true;
}

void Supervisor::StartWaiting() {
  std::deque<ExecutorProcess> still_waiting;
  for (ExecutorProcess& process : waiting_) {
    const bool busy = std::any_of(running_.begin(), running_.end(), [&](const auto& entry) {
      const std::vector<uint32_t>& taken = entry.second.devices;
      return std::find_first_of(taken.begin(), taken.end(), process.devices.begin(),
                                process.devices.end()) != taken.end();
    });
    if (busy) {
      still_waiting.push_back(std::move(process));
    } else {
      Spawn(process);
    }
  }
  waiting_.swap(still_waiting);
}

void Supervisor::Spawn(const ExecutorProcess& process) {
  std::vector<char*> arguments = {const_cast<char*>(process.program.c_str())};
  for (const std::string& argument : process.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);

  const int input = MemoryFile(process.input);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // The child begins with default signals, whatever this process blocks or handles.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int error = input < 0 ? errno
                              : posix_spawn(&child, process.program.c_str(), &actions, &attributes,
                                            arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (input >= 0) close(input);
  const int handle = error == 0 ? int(syscall(SYS_pidfd_open, child, 0)) : -1;
  if (error != 0 || handle < 0) {
    const int why = error != 0 ? error : errno;
    if (error == 0) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    exited_(process.executor, absl::UnavailableError(absl::StrCat("cannot start ", process.program,
                                                                  ": ", strerror(why))));
    return;
  }
  running_[process.executor] = {process.devices, child, handle};
  started_(process.executor, child);
}

void Supervisor::Kill(Running& running) {
  running.stopped = true;
  kill(running.process, SIGKILL);  // not reaped yet, so the number is still its own
}

void Supervisor::Reap(uint64_t executor) {
  auto running = running_.find(executor);
  int status = 0;
  if (waitpid(running->second.process, &status, WNOHANG) <= 0) return;
  close(running->second.handle);
  const absl::Status how =
      running->second.stopped ? absl::OkStatus() : HowItEnded(running->second.process, status);
  running_.erase(running);
  exited_(executor, how);
}

}  // namespace moai
