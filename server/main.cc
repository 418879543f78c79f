// moai_server: the front-door daemon.
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "server/flavor_file.h"
#include "server/server.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"
#include "wire/process_tuning.h"

ABSL_FLAG(std::vector<std::string>, client_addresses, {"127.0.0.1:7070"},
          "where clients connect: host:port or unix:path, comma-separated");
ABSL_FLAG(std::vector<std::string>, worker_addresses, {"127.0.0.1:7071"}, "where workers connect");
ABSL_FLAG(bool, allow_insecure_remote, false,
          "listen without encryption on addresses that other machines reach");
ABSL_FLAG(std::string, client_token_file, "", "file with the token that clients must show");
ABSL_FLAG(std::string, worker_token_file, "", "file with the token that workers must show");
ABSL_FLAG(int, lease_seconds, 60, "how long the session of a client that disappeared is kept");
ABSL_FLAG(int, worker_lease_seconds, 10, "how long a worker that disappeared is waited for");
ABSL_FLAG(int, stream_threads, 1, "threads that take messages, for clients and for workers each");
ABSL_FLAG(int, planning_threads, 1, "threads that verify and plan graphs");
ABSL_FLAG(int, wait_for_workers, 0, "listen for clients only when so many workers have registered");
ABSL_FLAG(std::string, state_file, "",
          "keep here which flavors were chosen; without it they are forgotten with the server");
ABSL_FLAG(std::string, flavor_file, "",
          "a list of flavors (YAML); without it, 1, 2, 4, ... devices as the workers have them");
ABSL_FLAG(int, devices_per_session, 1, "devices of the flavor of those who never chose one");
ABSL_FLAG(std::string, address_file, "",
          "write the addresses that were taken here, clients' in the first line, workers' in the "
          "second");
ABSL_FLAG(bool, replicate, false,
          "have every device of a session do all of it, instead of planning: for tests");
ABSL_FLAG(std::string, force_plan, "",
          "fix what the planner would choose, such as data=2,model=2,micro_batches=2,state=1,"
          "recompute=2,sequence=1: for tests and experiments");
ABSL_FLAG(std::string, log_level, "info", "debug, info, warn, error");

namespace moai {
namespace {

bool ReadToken(const std::string& path, std::string& token) {
  if (path.empty()) return true;
  std::ifstream file(path);
  token.assign(std::istreambuf_iterator<char>(file), {});
  absl::StripAsciiWhitespace(&token);
  if (token.empty()) spdlog::error("no token in file path={}", path);
  return !token.empty();
}

// In one piece: whoever waits for the file never sees half of it.
bool WriteAddresses(const std::string& path, const Server& server) {
  if (path.empty()) return true;
  const std::string temporary = path + ".new";
  std::ofstream file(temporary);
  file << absl::StrJoin(server.client_addresses(), ",") << "\n"
       << absl::StrJoin(server.worker_addresses(), ",") << "\n";
  file.close();
  return file.good() && rename(temporary.c_str(), path.c_str()) == 0;
}

int Main() {
  auto log = spdlog::stderr_logger_mt("server");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %n[%P] %v");
  log->set_level(spdlog::level::from_str(absl::GetFlag(FLAGS_log_level)));
  spdlog::set_default_logger(log);

  ServerOptions options;
  options.client_addresses = absl::GetFlag(FLAGS_client_addresses);
  options.worker_addresses = absl::GetFlag(FLAGS_worker_addresses);
  options.allow_insecure_remote = absl::GetFlag(FLAGS_allow_insecure_remote);
  options.lease_seconds = absl::GetFlag(FLAGS_lease_seconds);
  options.worker_lease_seconds = absl::GetFlag(FLAGS_worker_lease_seconds);
  options.stream_threads = absl::GetFlag(FLAGS_stream_threads);
  options.planning_threads = absl::GetFlag(FLAGS_planning_threads);
  options.state_file = absl::GetFlag(FLAGS_state_file);
  options.devices_per_session = absl::GetFlag(FLAGS_devices_per_session);
  options.replicate = absl::GetFlag(FLAGS_replicate);
  options.force_plan = absl::GetFlag(FLAGS_force_plan);
  if (options.lease_seconds < 1 || options.worker_lease_seconds < 1 || options.stream_threads < 1 ||
      options.planning_threads < 1 || options.devices_per_session < 1) {
    spdlog::error("leases and numbers of threads and devices must be at least 1");
    return 2;
  }
  if (!ReadToken(absl::GetFlag(FLAGS_client_token_file), options.client_token) ||
      !ReadToken(absl::GetFlag(FLAGS_worker_token_file), options.worker_token)) {
    return 2;
  }
  if (const std::string path = absl::GetFlag(FLAGS_flavor_file); !path.empty()) {
    auto flavors = ReadFlavorFile(path);
    if (!flavors.ok()) {
      spdlog::error("cannot read the flavors reason=\"{}\"",
                    std::string(flavors.status().message()));
      return 2;
    }
    options.flavors = *std::move(flavors);
  }
  auto server = Server::Start(options);
  if (!server.ok()) {
    spdlog::error("cannot start reason=\"{}\"", server.status().ToString());
    return 1;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  constexpr std::chrono::milliseconds kLookForSignals(50);
  while (!(*server)->WaitForWorkers(absl::GetFlag(FLAGS_wait_for_workers), kLookForSignals)) {
    const timespec now{};
    if (sigtimedwait(&signals, nullptr, &now) > 0) return 0;
  }
  if (absl::Status status = (*server)->ListenForClients(); !status.ok()) {
    spdlog::error("cannot listen for clients reason=\"{}\"", status.ToString());
    return 1;
  }
  spdlog::info("listening clients={} workers={}", absl::StrJoin((*server)->client_addresses(), ","),
               absl::StrJoin((*server)->worker_addresses(), ","));
  if (!WriteAddresses(absl::GetFlag(FLAGS_address_file), **server)) {
    spdlog::error("cannot write path={}", absl::GetFlag(FLAGS_address_file));
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("stopping signal={}", signal);
  server->reset();
  return 0;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("The server: takes clients and workers.");
  absl::ParseCommandLine(argc, argv);
  moai::wire::TuneProcessForTransfers();
  // Blocked before any thread exists, so that all inherit it: one thread waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return moai::Main();
}
