// moai_worker: the daemon of one node; with --executor, the process it starts for one session.
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/sanitized.h"
#include "proto/worker.pb.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"
#include "wire/process_tuning.h"
#include "worker/daemon/worker_daemon.h"
#include "worker/executor/executor_process.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/profile/measure_device.h"
#include "worker/profile/measure_links.h"

ABSL_FLAG(std::string, server, "127.0.0.1:7071",
          "where the server takes workers: host:port, unix:path");
ABSL_FLAG(std::string, name, "", "what people call this worker; the host's name by default");
ABSL_FLAG(moai::ByteSizeFlag, device_memory, moai::ByteSizeFlag{int64_t{4} << 30},
          "memory that sessions may use on each device: 512MiB, 4GiB, ...");
ABSL_FLAG(int, devices, 1, "how many devices this machine is divided into");
ABSL_FLAG(int, threads, 0,
          "threads of each device; 0: the cores this may use, divided by the devices");
ABSL_FLAG(std::string, token_file, "", "file with the token that the server expects of workers");
ABSL_FLAG(std::string, socket_directory, "",
          "for the executors' Unix sockets; a directory of its own by default");
ABSL_FLAG(std::string, transfer_host, "127.0.0.1",
          "address on which executors take bulk bytes from clients");
ABSL_FLAG(
    std::string, peer_host, "127.0.0.1",
    "address on which executors take the links of their session's executors on other workers");
ABSL_FLAG(bool, allow_insecure_remote, false,
          "listen without encryption on addresses that other machines reach");
ABSL_FLAG(moai::ByteSizeFlag, executor_overhead, moai::ByteSizeFlag{int64_t{2} << 30},
          "what an executor process may take beside its device's memory; 0: no limit");
ABSL_FLAG(std::string, profile_directory, "",
          "where what the devices and their links can do is kept; what is not there is measured "
          "before the worker registers, which takes some seconds. By default "
          "MOAI_PROFILE_DIRECTORY, else ~/.cache/moai; none: nothing is measured, and the server "
          "assumes a usual core");
ABSL_FLAG(moai::ByteSizeFlag, link_rate, moai::ByteSizeFlag{0},
          "bytes a second that each device sends at most; 0: as many as it can. For measurements "
          "in which communication is to matter");
ABSL_FLAG(double, link_latency_us, 0, "added to each message between devices; as --link_rate");
ABSL_FLAG(std::string, log_level, "info", "debug, info, warn, error");
ABSL_FLAG(bool, executor, false, "be an executor process (started by the daemon only)");

namespace moai {
namespace {

void SetUpLog(const char* role) {
  auto log = spdlog::stderr_logger_mt(role);
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %n[%P] %v");
  log->set_level(spdlog::level::from_str(absl::GetFlag(FLAGS_log_level)));
  spdlog::set_default_logger(log);
}

// A runaway executor fails its own allocations instead of the machine's. Sanitizers reserve address
// space that would count.
void LimitMemory(int64_t device_bytes) {
  if (kSanitized) return;
  const int64_t overhead = absl::GetFlag(FLAGS_executor_overhead).bytes;
  if (overhead <= 0) return;
  const rlim_t bytes = rlim_t(device_bytes + overhead);
  const rlimit limit{bytes, bytes};
  if (setrlimit(RLIMIT_DATA, &limit) != 0) spdlog::warn("cannot limit memory bytes={}", bytes);
}

LinkThrottle Throttle() {
  return {.bytes_per_second = double(absl::GetFlag(FLAGS_link_rate).bytes),
          .latency_us = absl::GetFlag(FLAGS_link_latency_us),
          .in_process = true};
}

int ExecutorMain() {
  SetUpLog("executor");
  // Dies with the daemon, however that ends; a daemon that is gone already was the parent no more.
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent || parent == 1) return 1;
  // A terminal's interrupt is for the daemon to handle.
  signal(SIGINT, SIG_IGN);
  std::string input;
  char buffer[4096];
  ssize_t n;
  while ((n = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0) input.append(buffer, size_t(n));
  proto::ExecutorConfig config;
  if (!config.ParseFromString(input)) {
    spdlog::error("no configuration on standard input; the daemon starts executors, not people");
    return 2;
  }
  int64_t device_bytes = 0;
  for (const auto& device : config.devices()) device_bytes += int64_t(device.memory_bytes());
  LimitMemory(device_bytes);
  const absl::Status status = RunExecutor(config, MakeCpuKernel, Throttle());
  if (!status.ok()) spdlog::error("executor ended reason=\"{}\"", status.ToString());
  // The process is all there is to free.
  spdlog::shutdown();
  _exit(status.ok() ? 0 : 1);
}

// Executors inherit it: the OpenMP library reads it when it is loaded. A thread of a team that
// waits for the others spins this often, some 0.2 ms, and then sleeps. The library's own choice is
// 15 times that, and where other processes want the cores too, the spinning keeps the awaited
// thread from running: with eight compilers beside it, a training step took 6.6 s, against 3.4 s
// so.
void BoundSpinning() {
  if (getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "20000", /*overwrite=*/0);
}

// Fewer than the machine's where a container or taskset says so.
int UsableCores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
  return int(std::thread::hardware_concurrency());
}

// Empty where nothing is to be measured.
std::string ProfileDirectory() {
  std::string directory = absl::GetFlag(FLAGS_profile_directory);
  if (const char* named = getenv("MOAI_PROFILE_DIRECTORY"); directory.empty() && named != nullptr) {
    directory = named;
  }
  if (directory == "none") return "";
  if (!directory.empty()) return directory;
  const char* const home = getenv("HOME");
  return home == nullptr ? "" : absl::StrCat(home, "/.cache/moai");
}

// What cannot be measured is left out: the server assumes something then.
void Measure(const std::string& directory, WorkerOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  // All devices are alike.
  const auto device =
      LoadOrMeasureDevice(directory, MakeCpuKernel, {.threads = options.devices[0].threads});
  const auto links =
      LoadOrMeasureLinks(directory, {.host = options.peer_host, .throttle = Throttle()});
  if (!device.ok() || !links.ok()) {
    spdlog::warn("cannot measure device=\"{}\" links=\"{}\"", device.status().ToString(),
                 links.status().ToString());
    return;
  }
  for (WorkerDevice& one : options.devices) one.measurement = *device;
  options.links = *links;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  spdlog::info(
      "profile directory={} seconds={:.2f} complete={} matmul_gflops={:.1f} stream_gb_per_s={:.1f} "
      "network_gb_per_s={:.2f} network_latency_us={:.0f}",
      directory, seconds.count(), device->complete, device->matmuls[0].gflops,
      device->stream_gb_per_s, links->network.gather_gb_per_s, links->network.latency_us);
}

std::string ReadToken(const std::string& path) {
  std::ifstream file(path);
  std::string token((std::istreambuf_iterator<char>(file)), {});
  return std::string(absl::StripAsciiWhitespace(token));
}

int DaemonMain() {
  SetUpLog("worker");
  WorkerOptions options;
  options.server_address = absl::GetFlag(FLAGS_server);
  options.name = absl::GetFlag(FLAGS_name);
  if (options.name.empty()) {
    char host[256] = {};
    gethostname(host, sizeof(host) - 1);
    options.name = host;
  }
  if (const std::string path = absl::GetFlag(FLAGS_token_file); !path.empty()) {
    options.token = ReadToken(path);
    if (options.token.empty()) {
      spdlog::error("no token in file path={}", path);
      return 2;
    }
  }
  const int devices = absl::GetFlag(FLAGS_devices);
  int threads = absl::GetFlag(FLAGS_threads);
  if (devices < 1 || devices > 64 || threads < 0) {
    spdlog::error("--devices must be between 1 and 64, --threads not negative");
    return 2;
  }
  if (threads == 0) threads = std::max(1, UsableCores() / devices);
  for (int i = 0; i < devices; ++i) {
    options.devices.push_back({absl::GetFlag(FLAGS_device_memory).bytes, threads});
  }
  options.program = std::filesystem::read_symlink("/proc/self/exe").string();
  options.transfer_host = absl::GetFlag(FLAGS_transfer_host);
  options.peer_host = absl::GetFlag(FLAGS_peer_host);
  options.allow_insecure_remote = absl::GetFlag(FLAGS_allow_insecure_remote);
  options.socket_directory = absl::GetFlag(FLAGS_socket_directory);
  const bool own_directory = options.socket_directory.empty();
  if (own_directory) {
    // Readable by this user only. The path must stay short: a socket's has at most 107 characters.
    char path[] = "/tmp/moai-worker-XXXXXX";
    if (mkdtemp(path) == nullptr) {
      spdlog::error("cannot make a directory for sockets path={}", path);
      return 1;
    }
    options.socket_directory = path;
  }
  options.executor_arguments = {
      absl::StrCat("--executor_overhead=", absl::GetFlag(FLAGS_executor_overhead).bytes),
      absl::StrCat("--link_rate=", absl::GetFlag(FLAGS_link_rate).bytes),
      absl::StrCat("--link_latency_us=", absl::GetFlag(FLAGS_link_latency_us)),
      absl::StrCat("--log_level=", absl::GetFlag(FLAGS_log_level))};
  if (absl::GetFlag(FLAGS_link_rate).bytes < 0 || absl::GetFlag(FLAGS_link_latency_us) < 0) {
    spdlog::error("--link_rate and --link_latency_us must not be negative");
    return 2;
  }
  if (const std::string directory = ProfileDirectory(); !directory.empty()) {
    Measure(directory, options);
  }

  WorkerDaemon daemon(options);
  // Signals come to one thread, which may take locks.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    spdlog::info("stopping signal={}", signal);
    daemon.Stop();
  });
  const absl::Status status = daemon.Run();
  if (!status.ok()) spdlog::error("worker ended reason=\"{}\"", status.ToString());
  kill(getpid(), SIGTERM);  // where Run ended by itself, the waiter still waits
  waiter.join();
  if (own_directory) std::filesystem::remove_all(options.socket_directory);
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("The worker daemon: offers this machine's devices to a server.");
  absl::ParseCommandLine(argc, argv);
  moai::wire::TuneProcessForTransfers();
  if (absl::GetFlag(FLAGS_executor)) return moai::ExecutorMain();
  // Blocked before any thread exists, so that all inherit it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  moai::BoundSpinning();
  return moai::DaemonMain();
}
