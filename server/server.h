// The front door: takes clients and workers, and gives each session its devices.
#ifndef MOAI_SERVER_SERVER_H_
#define MOAI_SERVER_SERVER_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "scheduler/flavors.h"

namespace moai {

struct ServerOptions {
  std::vector<std::string> client_addresses = {"127.0.0.1:7070"};
  std::vector<std::string> worker_addresses = {"127.0.0.1:7071"};
  bool allow_insecure_remote = false;
  std::string client_token;  // empty: anybody who can connect
  std::string worker_token;
  int lease_seconds = 60;         // how long a disconnected session is kept
  int worker_lease_seconds = 10;  // likewise a worker, and an executor
  int stream_threads = 1;
  int planning_threads = 1;
  // Where what users choose is kept; empty: in memory, for as long as the server lives.
  std::string state_file;
  std::vector<Flavor> flavors;  // the operator's list; empty: what the pool allows
  // Of the flavor that those have who never chose one.
  int devices_per_session = 1;
  // Every device of a session does all of it, instead of what the planner chooses: for tests.
  bool replicate = false;
  // What every plan must be (forced_plan.h), for tests and experiments; empty: the planner chooses.
  std::string force_plan;
};

class Server {
 public:
  // Listens for workers.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  // Ends every session.
  ~Server();

  // Whether so many workers are registered; waits up to `patience` for them.
  bool WaitForWorkers(int count, std::chrono::milliseconds patience);
  absl::Status ListenForClients();

  // With the ports that were taken; clients' once ListenForClients has returned OK.
  const std::vector<std::string>& client_addresses() const;
  const std::vector<std::string>& worker_addresses() const;

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace moai

#endif  // MOAI_SERVER_SERVER_H_
