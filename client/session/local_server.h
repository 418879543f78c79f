// A server and a worker daemon of this machine, as child processes, for programs that name no
// server.
#ifndef MOAI_CLIENT_SESSION_LOCAL_SERVER_H_
#define MOAI_CLIENT_SESSION_LOCAL_SERVER_H_

#include <sys/types.h>

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace moai {

class LocalServer {
 public:
  // Finds moai_server and moai_worker in MOAI_HOME/bin, MOAI_HOME, beside this program, or in the
  // build tree it came from, and starts both on Unix sockets in a fresh private directory. NotFound
  // says where they were looked for, and what to do.
  static absl::StatusOr<std::unique_ptr<LocalServer>> Start();

  // Ends both processes and removes the directory.
  ~LocalServer();

  // Where the server listens: "unix:/...".
  std::string address() const;

 private:
  explicit LocalServer(std::string directory) : directory_(std::move(directory)) {}

  const std::string directory_;
  std::vector<pid_t> processes_;  // of the keeper
  std::promise<void> stop_;
  // Starts the processes and stays: the kernel ends them when the thread that started them ends,
  // which also covers a program that is killed.
  std::thread keeper_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_SESSION_LOCAL_SERVER_H_
