// The daemon of one node: offers its devices to a server, and runs an executor process for each
// session that the server places on some of them.
#ifndef MOAI_WORKER_DAEMON_WORKER_DAEMON_H_
#define MOAI_WORKER_DAEMON_WORKER_DAEMON_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "program/device_profile.h"

namespace moai {

struct WorkerDevice {
  int64_t memory_bytes = 0;
  int threads = 1;
  std::optional<DeviceProfileMeasurement> measurement = std::nullopt;
};

struct WorkerOptions {
  std::string server_address;  // where the server takes workers
  std::string name;            // for people
  std::string token;
  std::vector<WorkerDevice> devices;
  std::optional<LinksMeasurement> links;
  std::string program;                          // this binary, to be run with --executor
  std::vector<std::string> executor_arguments;  // beside that
  std::string socket_directory;                 // for the executors' Unix sockets
  std::string transfer_host = "127.0.0.1";      // where executors listen for clients of other hosts
  std::string peer_host = "127.0.0.1";          // and for the session's executors on other workers
  bool allow_insecure_remote = false;
};

class WorkerDaemon {
 public:
  explicit WorkerDaemon(WorkerOptions options);
  ~WorkerDaemon();

  // Serves until Stop, connecting again whenever the server is lost: its executors end then, and
  // the devices are offered anew. Returns an error only where the server refuses this worker.
  absl::Status Run();
  // Any thread.
  void Stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace moai

#endif  // MOAI_WORKER_DAEMON_WORKER_DAEMON_H_
