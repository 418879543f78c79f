// An executor that is killed in the middle of a transfer: the others hear of it at once.
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "program/collective_bytes.h"
#include "worker/collectives/process_group.h"

namespace moai {
namespace {

constexpr int64_t kCount = 1 << 20;

// Passes a string of a known size.
void WriteAll(int fd, const std::string& text) {
  ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}
std::string ReadAll(int fd, size_t size) {
  std::string text(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t now = read(fd, text.data() + done, size - done);
    if (now <= 0) return "";
    done += now;
  }
  return text;
}

absl::StatusOr<std::unique_ptr<ProcessGroup>> OpenGroup(uint32_t process, bool host_memory) {
  return ProcessGroup::Open(
      {.process = process, .process_of_rank = {0, 1}, .host_memory = host_memory});
}

absl::Status SumOnce(Communicator& communicator, std::vector<float>& numbers,
                     absl::Span<std::byte> scratch) {
  std::byte* const data = reinterpret_cast<std::byte*>(numbers.data());
  return communicator.AllReduce({0, 1}, data, data, kCount, Dtype::kF32, ReduceKind::kSum, scratch);
}

// Sums for ever. Never returns.
void RunDevice(ProcessGroup& group) {
  auto communicator = group.For(0);
  std::vector<float> numbers(kCount);
  std::vector<std::byte> scratch(kCollectiveWindow + 65536);
  while (SumOnce(*communicator, numbers, absl::MakeSpan(scratch)).ok()) {
  }
  _exit(0);
}

// Whether processes use the host's memory or the network.
class LostProcess : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(HostMemory, LostProcess, testing::Bool());

TEST_P(LostProcess, EndsTheStepOfTheOthers) {
  int to_child[2], to_parent[2];
  ASSERT_EQ(pipe(to_child), 0);
  ASSERT_EQ(pipe(to_parent), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto group = OpenGroup(1, GetParam());
    if (!group.ok()) _exit(1);
    const std::string& mine = (*group)->blobs()[0];
    WriteAll(to_parent[1], mine);
    const std::string theirs = ReadAll(to_child[0], mine.size());
    if (!(*group)->Connect(std::vector<std::string>{theirs, ""}, absl::Seconds(60)).ok()) _exit(2);
    RunDevice(**group);
  }
  auto group = OpenGroup(0, GetParam());
  ASSERT_TRUE(group.ok()) << group.status();
  const std::string& mine = (*group)->blobs()[1];
  WriteAll(to_child[1], mine);
  const std::string theirs = ReadAll(to_parent[0], mine.size());
  const absl::Status connected =
      (*group)->Connect(std::vector<std::string>{"", theirs}, absl::Seconds(60));
  ASSERT_TRUE(connected.ok()) << connected;
  ASSERT_EQ((*group)->uses_host_memory(), GetParam());

  auto communicator = (*group)->For(0);
  std::vector<float> numbers(kCount);
  std::vector<std::byte> scratch(kCollectiveWindow + 65536);
  absl::Status status;
  for (int i = 0; status.ok(); ++i) {
    if (i == 3) kill(child, SIGKILL);
    status = SumOnce(*communicator, numbers, absl::MakeSpan(scratch));
  }
  // The deadline of a wait is a minute: this is the connection's end.
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("executor 1 (devices 1)"));
  int ended = 0;
  EXPECT_EQ(waitpid(child, &ended, 0), child);
  EXPECT_TRUE(WIFSIGNALED(ended));
  for (const int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) close(fd);
}

}  // namespace
}  // namespace moai
