#include "worker/collectives/testing/test_session.h"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "base/status.h"
#include "gtest/gtest.h"

namespace moai {

absl::StatusOr<std::vector<std::unique_ptr<ProcessGroup>>> ConnectedGroups(
    ProcessGroupOptions options) {
  const std::vector<uint32_t>& process_of = options.process_of_rank;
  const uint32_t processes = *std::max_element(process_of.begin(), process_of.end()) + 1;
  std::vector<std::unique_ptr<ProcessGroup>> groups;
  for (uint32_t i = 0; i < processes; ++i) {
    options.process = i;
    MOAI_ASSIGN_OR_RETURN(std::unique_ptr<ProcessGroup> group, ProcessGroup::Open(options));
    groups.push_back(std::move(group));
  }
  std::vector<absl::Status> results(processes);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < processes; ++i) {
    threads.emplace_back([&, i] {
      std::vector<std::string> blobs;
      for (const auto& peer : groups) blobs.push_back(peer->blobs()[i]);
      results[i] = groups[i]->Connect(blobs, absl::Seconds(60));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) MOAI_RETURN_IF_ERROR(result);
  for (const auto& group : groups) {
    if (group->uses_host_memory() != (options.host_memory && processes > 1)) {
      return absl::InternalError("executors of this host do not use its memory as they should");
    }
  }
  return groups;
}

TestSession::TestSession(const ProcessGroupOptions& options)
    : process_of_rank_(options.process_of_rank) {
  absl::StatusOr<std::vector<std::unique_ptr<ProcessGroup>>> groups = ConnectedGroups(options);
  if (!groups.ok()) {
    ADD_FAILURE() << groups.status();
    return;
  }
  groups_ = *std::move(groups);
  communicators_.resize(process_of_rank_.size());
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group->ranks().size(); ++i) {
      communicators_[group->ranks()[i]] = group->For(i);
    }
  }
}

void TestSession::EndProcess(uint32_t process) {
  for (uint32_t rank : groups_[process]->ranks()) communicators_[rank].reset();
  groups_[process].reset();
}

void TestSession::Run(const std::function<void(Communicator&)>& device) {
  std::vector<std::thread> threads;
  for (const auto& communicator : communicators_) {
    if (communicator == nullptr) continue;
    threads.emplace_back([&device, &communicator = *communicator] { device(communicator); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace moai
