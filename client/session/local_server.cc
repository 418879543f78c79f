#include "client/session/local_server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <future>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

namespace fs = std::filesystem;

struct Programs {
  std::string server;
  std::string worker;
};

bool IsProgram(const fs::path& path) { return access(path.c_str(), X_OK) == 0; }

absl::StatusOr<Programs> FindPrograms() {
  std::vector<fs::path> directories;
  if (const char* home = std::getenv("MOAI_HOME"); home != nullptr && *home != '\0') {
    directories.push_back(fs::path(home) / "bin");
    directories.push_back(home);
  }
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  // Beside the program, as installed; above it, as built.
  for (fs::path d = self.parent_path(); !error && d.has_relative_path(); d = d.parent_path()) {
    directories.push_back(d);
  }
  for (const fs::path& directory : directories) {
    for (const bool built : {false, true}) {
      const fs::path server = directory / (built ? "server/moai_server" : "moai_server");
      const fs::path worker = directory / (built ? "worker/moai_worker" : "moai_worker");
      if (IsProgram(server) && IsProgram(worker)) return Programs{server.string(), worker.string()};
    }
  }
  return absl::NotFoundError(
      "No server is named, and none can be started here: the programs moai_server and moai_worker "
      "are neither beside this program nor in MOAI_HOME. Set MOAI_SERVER to the address of a "
      "server "
      "(host:port or unix:/path), or MOAI_HOME to where moai is installed");
}

// The child ends when the thread that started it does.
absl::StatusOr<pid_t> StartProcess(const std::vector<std::string>& command,
                                   const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t parent = getpid();
  const pid_t process = fork();
  if (process < 0) {
    const absl::Status status =
        absl::InternalError(absl::StrCat("Starting ", command[0], ": ", strerror(errno)));
    if (output >= 0) close(output);
    return status;
  }
  if (process == 0) {
    // Only calls that are safe after a fork of a process with threads.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    // A terminal's interrupt is for the program to handle.
    setpgid(0, 0);
    if (output >= 0) {
      dup2(output, STDOUT_FILENO);
      dup2(output, STDERR_FILENO);
    }
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  if (output >= 0) close(output);
  return process;
}

void StopProcess(pid_t process) {
  kill(process, SIGTERM);
  constexpr int kPolls = 500;
  constexpr useconds_t kPollMicroseconds = 10'000;
  for (int i = 0; i < kPolls; ++i) {
    if (waitpid(process, nullptr, WNOHANG) != 0) return;
    usleep(kPollMicroseconds);
  }
  kill(process, SIGKILL);
  waitpid(process, nullptr, 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalServer>> LocalServer::Start() {
  MOAI_ASSIGN_OR_RETURN(const Programs programs, FindPrograms());
  char directory[] = "/tmp/moai-local-XXXXXX";
  if (mkdtemp(directory) == nullptr) {
    return absl::InternalError(
        absl::StrCat("Making a directory for the local server in /tmp: ", strerror(errno)));
  }
  std::unique_ptr<LocalServer> server(new LocalServer(directory));
  std::promise<absl::Status> started;
  server->keeper_ = std::thread([&started, programs, self = server.get()] {
    const std::string clients = self->address();
    const std::string workers = absl::StrCat("unix:", self->directory_, "/workers");
    const std::vector<std::vector<std::string>> commands = {
        {programs.server, absl::StrCat("--client_addresses=", clients),
         absl::StrCat("--worker_addresses=", workers), "--wait_for_workers=1"},
        {programs.worker, absl::StrCat("--server=", workers)}};
    absl::Status status;
    for (const auto& command : commands) {
      const absl::StatusOr<pid_t> process =
          StartProcess(command, absl::StrCat(self->directory_, "/log"));
      status = process.status();
      if (!status.ok()) break;
      self->processes_.push_back(*process);
    }
    std::future<void> stop = self->stop_.get_future();
    started.set_value(status);
    stop.wait();
    // Workers first: the server would wait for them.
    for (auto it = self->processes_.rbegin(); it != self->processes_.rend(); ++it) StopProcess(*it);
  });
  MOAI_RETURN_IF_ERROR(started.get_future().get());
  return server;
}

LocalServer::~LocalServer() {
  if (keeper_.joinable()) {
    stop_.set_value();
    keeper_.join();
  }
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

std::string LocalServer::address() const { return absl::StrCat("unix:", directory_, "/server"); }

}  // namespace moai
