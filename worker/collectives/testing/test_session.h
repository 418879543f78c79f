// All devices of a session in one test process: a thread for each, and a ProcessGroup for each of
// the executors that it pretends to have.
#ifndef MOAI_WORKER_COLLECTIVES_TESTING_TEST_SESSION_H_
#define MOAI_WORKER_COLLECTIVES_TESTING_TEST_SESSION_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/collectives/process_group.h"

namespace moai {

// Opens a group for each process and connects them. `options` without the process.
absl::StatusOr<std::vector<std::unique_ptr<ProcessGroup>>> ConnectedGroups(
    ProcessGroupOptions options);

class TestSession {
 public:
  // Devices by the process that holds them. Fails the test where it cannot be made.
  explicit TestSession(const std::vector<uint32_t>& process_of_rank)
      : TestSession(ProcessGroupOptions{.process_of_rank = process_of_rank}) {}
  explicit TestSession(const ProcessGroupOptions& options);

  size_t size() const { return communicators_.size(); }
  Communicator& communicator(uint32_t rank) { return *communicators_[rank]; }
  ProcessGroup& group(uint32_t process) { return *groups_[process]; }
  // The process goes, as if its executor had ended. Not while its devices run.
  void EndProcess(uint32_t process);

  // Runs `device` on a thread for each device, to the end.
  void Run(const std::function<void(Communicator&)>& device);

 private:
  std::vector<uint32_t> process_of_rank_;
  std::vector<std::unique_ptr<ProcessGroup>> groups_;
  std::vector<std::unique_ptr<Communicator>> communicators_;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_TESTING_TEST_SESSION_H_
