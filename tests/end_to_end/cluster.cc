#include "tests/end_to_end/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace moai {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience(60);
constexpr useconds_t kPollMicroseconds = 2000;

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  // In a test Bazel's data; else (a benchmark) the build tree that this program is part of.
  std::vector<fs::path> roots;
  if (const char* sources = std::getenv("TEST_SRCDIR")) roots.push_back(fs::path(sources) / "moai");
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  for (fs::path d = self.parent_path(); d.has_relative_path(); d = d.parent_path()) {
    roots.push_back(d);
  }
  for (const fs::path& root : roots) {
    if (access((root / name).c_str(), X_OK) == 0) return (root / name).string();
  }
  return absl::NotFoundError(absl::StrCat("no program ", name, " beside ", self.string()));
}

// The process ends with the thread that starts it: a test that is killed leaves nothing behind.
absl::StatusOr<pid_t> Spawn(std::vector<std::string> command, const std::string& log) {
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t parent = getpid();
  const pid_t process = fork();
  if (process == 0) {
    // Only calls that are safe after a fork of a process with threads.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    if (output >= 0) dup2(output, STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  if (output >= 0) close(output);
  if (process < 0) {
    return absl::InternalError(absl::StrCat("cannot start ", command[0], ": ", strerror(errno)));
  }
  return process;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int Stop(pid_t& process) {
  if (process < 0) return -1;
  kill(process, SIGTERM);
  int status = 0;
  const auto give_up = steady_clock::now() + kPatience;
  while (waitpid(process, &status, WNOHANG) == 0) {
    if (steady_clock::now() > give_up) kill(process, SIGKILL);
    usleep(kPollMicroseconds);
  }
  process = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Start(const ClusterOptions& options) {
  MOAI_ASSIGN_OR_RETURN(const std::string server, FindProgram("server/moai_server"));
  MOAI_ASSIGN_OR_RETURN(const std::string worker, FindProgram("worker/moai_worker"));
  // Not in the test's own directory: the path of a Unix socket must be short.
  char directory[] = "/tmp/moai-test-XXXXXX";
  if (mkdtemp(directory) == nullptr) {
    return absl::InternalError(absl::StrCat("cannot make ", directory, ": ", strerror(errno)));
  }
  std::unique_ptr<Cluster> cluster(new Cluster);
  cluster->directory_ = directory;
  const std::string log = absl::StrCat(directory, "/log");
  const std::string workers = absl::StrCat("unix:", directory, "/workers");
  const std::string addresses = absl::StrCat(directory, "/addresses");

  std::vector<std::string> command = {
      server,
      absl::StrCat("--client_addresses=",
                   options.tcp ? "127.0.0.1:0" : absl::StrCat("unix:", directory, "/clients")),
      absl::StrCat("--worker_addresses=", workers),
      absl::StrCat("--address_file=", addresses),
      absl::StrCat("--wait_for_workers=", options.workers),
      absl::StrCat("--devices_per_session=", options.devices_per_session),
  };
  command.insert(command.end(), options.server_flags.begin(), options.server_flags.end());
  MOAI_ASSIGN_OR_RETURN(cluster->server_, Spawn(command, log));
  command = {worker,
             absl::StrCat("--server=", workers),
             absl::StrCat("--devices=", options.devices),
             absl::StrCat("--threads=", options.threads),
             absl::StrCat("--device_memory=", options.device_memory),
             absl::StrCat("--socket_directory=", directory)};
  command.insert(command.end(), options.worker_flags.begin(), options.worker_flags.end());
  for (int i = 0; i < options.workers; ++i) {
    MOAI_ASSIGN_OR_RETURN(const pid_t process, Spawn(command, log));
    cluster->workers_.push_back(process);
  }

  // The server writes the file once clients can connect.
  const auto give_up = steady_clock::now() + kPatience;
  while (access(addresses.c_str(), R_OK) != 0) {
    bool ended = waitpid(cluster->server_, nullptr, WNOHANG) != 0;
    for (const pid_t process : cluster->workers_) {
      ended = ended || waitpid(process, nullptr, WNOHANG) != 0;
    }
    if (ended || steady_clock::now() > give_up) {
      return absl::InternalError(absl::StrCat("the cluster did not start:\n", cluster->Log()));
    }
    usleep(kPollMicroseconds);
  }
  const std::vector<std::string> lines = absl::StrSplit(ReadAll(addresses), '\n');
  cluster->address_ = lines[0];
  return cluster;
}

Cluster::~Cluster() {
  StopWorkers();
  StopServer();
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

int Cluster::StopServer() { return Stop(server_); }
int Cluster::StopWorkers() {
  int status = 0;
  for (pid_t& process : workers_) {
    const int one = Stop(process);
    if (status == 0) status = one;
  }
  workers_.clear();
  return status;
}
std::string Cluster::Log() const { return ReadAll(absl::StrCat(directory_, "/log")); }

std::vector<pid_t> Cluster::executors() const {
  std::vector<pid_t> children;
  std::error_code error;
  for (const pid_t worker : workers_) {
    const std::string tasks = absl::StrCat("/proc/", worker, "/task");
    for (const auto& task : fs::directory_iterator(tasks, error)) {
      std::istringstream list(ReadAll(task.path() / "children"));
      pid_t child = 0;
      while (list >> child) children.push_back(child);
    }
  }
  return children;
}

absl::StatusOr<int64_t> AnonymousBytes(pid_t process) {
  std::ifstream status(absl::StrCat("/proc/", process, "/status"));
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("RssAnon:", 0) == 0) return std::stoll(line.substr(8)) * 1024;
  }
  return absl::NotFoundError(absl::StrCat("process ", process, " has no RssAnon"));
}

}  // namespace moai
