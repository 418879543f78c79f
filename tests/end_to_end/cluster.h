// A real server and real worker daemons, as processes of a test, on sockets in a directory of their
// own.
#ifndef MOAI_TESTS_END_TO_END_CLUSTER_H_
#define MOAI_TESTS_END_TO_END_CLUSTER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace moai {

struct ClusterOptions {
  int workers = 1;
  int devices = 1;  // of each worker
  int devices_per_session = 1;
  std::string device_memory = "256MiB";
  int threads = 1;
  bool tcp = false;  // clients connect over loopback instead of a Unix socket
  std::vector<std::string> server_flags;
  std::vector<std::string> worker_flags;
};

// Ends its processes when it goes.
class Cluster {
 public:
  // Returns when clients can connect. The programs are looked for beside the test's own data
  // (server/moai_server, worker/moai_worker), as Bazel lays them out.
  static absl::StatusOr<std::unique_ptr<Cluster>> Start(const ClusterOptions& options = {});
  ~Cluster();

  // Where clients connect.
  const std::string& address() const { return address_; }
  pid_t server() const { return server_; }
  // The worker daemons, in the order of their start.
  const std::vector<pid_t>& workers() const { return workers_; }
  // The executor processes that run now.
  std::vector<pid_t> executors() const;
  // What the processes have logged so far.
  std::string Log() const;
  // Sends SIGTERM and returns the process's exit status: a clean end is 0.
  int StopServer();
  // Stops all; the first exit status that is not 0.
  int StopWorkers();

 private:
  Cluster() = default;

  std::string directory_;
  std::string address_;
  pid_t server_ = -1;
  std::vector<pid_t> workers_;
};

// Resident bytes of a process that are its own (not of files).
absl::StatusOr<int64_t> AnonymousBytes(pid_t process);

}  // namespace moai

#endif  // MOAI_TESTS_END_TO_END_CLUSTER_H_
