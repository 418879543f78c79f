// The memory of a device: what does not fit is refused before it runs, what is planned is what the
// process takes, and a limit just above the smallest that works is enough.
#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/sanitized.h"
#include "base/status.h"
#include "client/moai.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"

namespace moai {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<Cluster>> StartWith(int64_t device_memory) {
  return Cluster::Start({.device_memory = absl::StrCat(device_memory)});
}

absl::StatusOr<Accelerator> ConnectTo(const Cluster& cluster) {
  return Accelerator::Connect({.server = cluster.address(), .log = false});
}

// The most memory that the process has had resident at once, in bytes.
int64_t PeakResidentBytes(pid_t process) {
  std::ifstream status(absl::StrCat("/proc/", process, "/status"));
  std::string line;
  int64_t kibibytes = -1;
  while (std::getline(status, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, "VmHWM:") || !absl::ConsumeSuffix(&rest, "kB")) continue;
    EXPECT_TRUE(absl::SimpleAtoi(rest, &kibibytes)) << line;
  }
  return kibibytes * 1024;
}

// Trains two layers of width^2 parameters with AdamW, reading every loss.
struct Program {
  int64_t width;
  int64_t batch;
  int steps;
};

absl::Status RunProgram(const Program& program) {
  const auto [width, batch, steps] = program;
  ManualSeed(1);
  nn::Linear first(width, width), second(width, width);
  std::vector<nn::NamedTensor> parameters;
  for (const auto& [name, layer] : {std::pair("first.", &first), std::pair("second.", &second)}) {
    for (const nn::NamedTensor& tensor : layer->NamedParameters()) {
      parameters.push_back({absl::StrCat(name, tensor.name), tensor.tensor});
    }
  }
  optim::AdamW optimizer(parameters, {.learning_rate = 1e-3});
  for (int step = 0; step < steps; ++step) {
    const Tensor x = Normal({batch, width});
    const Tensor y = second.Forward(Relu(first.Forward(x)));
    const Tensor loss = Mean(y * y);
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
    MOAI_RETURN_IF_ERROR(loss.Item().status());
  }
  return absl::OkStatus();
}

TEST(MemoryLimitTest, AProgramOverTheLimitIsRefusedBeforeItRuns) {
  constexpr int64_t kLimit = int64_t{64} << 20;
  auto cluster = StartWith(kLimit);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  auto accelerator = ConnectTo(**cluster);
  ASSERT_TRUE(accelerator.ok()) << accelerator.status();
  const Tensor small = Normal({1024});
  ASSERT_TRUE(small.ToVector<float>().ok());
  ASSERT_TRUE(accelerator->Synchronize().ok());
  const uint64_t peak = accelerator->stats().device_bytes_peak;
  ASSERT_LT(peak, uint64_t{1} << 20);

  // 64 MiB for each of three operands.
  const Tensor large = Normal({4096, 4096});
  const absl::Status status = Sum(Matmul(large, large)).Item().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const std::string message(status.message());
  EXPECT_THAT(message, ContainsRegex("needs [0-9.]+ .iB \\([0-9]+ bytes"));
  EXPECT_THAT(message, HasSubstr("the accelerator has 64.00 MiB"));
  EXPECT_THAT(message, ContainsRegex("\\([0-9]+ bytes\\) are available"));
  // Nothing of it has run, and what was there is still there.
  accelerator->Synchronize().IgnoreError();
  EXPECT_EQ(accelerator->stats().device_bytes_peak, peak);
  EXPECT_TRUE(small.ToVector<float>().ok());
}

// Whether the program runs on a device of so many bytes. It is refused, or it runs: any other error
// is a failure.
bool RunsWithin(int64_t device_memory, const Program& program, uint64_t* peak = nullptr) {
  auto cluster = StartWith(device_memory);
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  if (!cluster.ok()) return false;
  auto accelerator = ConnectTo(**cluster);
  EXPECT_TRUE(accelerator.ok()) << accelerator.status();
  if (!accelerator.ok()) return false;
  absl::Status status = RunProgram(program);
  status.Update(accelerator->Synchronize());
  if (peak != nullptr) *peak = accelerator->stats().device_bytes_peak;
  EXPECT_LE(accelerator->stats().device_bytes_peak, uint64_t(device_memory));
  if (status.ok()) return true;
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(" are available"));
  return false;
}

TEST(MemoryLimitTest, TheProcessTakesWhatWasPlanned) {
  if (kSanitized) GTEST_SKIP() << "sanitizers keep shadow memory, and quarantine what is freed";
  auto cluster = StartWith(int64_t{1} << 30);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  auto accelerator = ConnectTo(**cluster);
  ASSERT_TRUE(accelerator.ok()) << accelerator.status();
  // Whatever a process takes for its code, its threads and the kernels of this program, once.
  ASSERT_TRUE(RunProgram({.width = 64, .batch = 16, .steps = 2}).ok());
  ASSERT_TRUE(accelerator->Synchronize().ok());
  const std::vector<pid_t> executors = (*cluster)->executors();
  ASSERT_EQ(executors.size(), 1u);
  const int64_t planned_before = int64_t(accelerator->stats().device_bytes_peak);
  const int64_t resident_before = PeakResidentBytes(executors[0]);

  const Program program = {.width = 2816, .batch = 64, .steps = 3};
  const absl::Status status = RunProgram(program);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(accelerator->Synchronize().ok());
  const int64_t planned = int64_t(accelerator->stats().device_bytes_peak) - planned_before;
  const int64_t resident = PeakResidentBytes(executors[0]) - resident_before;
  std::cout << "planned=" << planned << " resident=" << resident
            << " ratio=" << double(resident) / double(planned) << std::endl;
  EXPECT_GT(planned, int64_t{250} << 20);
  EXPECT_GE(double(resident), 0.95 * double(planned));
  EXPECT_LE(double(resident), 1.05 * double(planned));
  // The server, which decides before anything runs, counts the same.
  accelerator = absl::CancelledError("another session takes its place");
  *cluster = nullptr;
  EXPECT_FALSE(RunsWithin(int64_t(0.95 * double(resident)), program));
  EXPECT_TRUE(RunsWithin(int64_t(1.05 * double(resident)), program));
}

TEST(MemoryLimitTest, NothingIsRefusedJustAboveTheSmallestLimit) {
  const Program program = {.width = 384, .batch = 96, .steps = 4};
  uint64_t peak = 0;
  ASSERT_TRUE(RunsWithin(int64_t{256} << 20, program, &peak));
  int64_t refused = int64_t(peak) / 2;
  int64_t runs = int64_t(peak) * 2;
  ASSERT_FALSE(RunsWithin(refused, program));
  ASSERT_TRUE(RunsWithin(runs, program));
  // To half a percent.
  while (runs - refused > refused / 200) {
    const int64_t middle = refused + (runs - refused) / 2;
    (RunsWithin(middle, program) ? runs : refused) = middle;
  }
  std::cout << "peak=" << peak << " smallest limit=" << runs << std::endl;
  // The planner does not ask for more than is used.
  EXPECT_LE(double(runs), 1.05 * double(peak));
  // Below 1.05 x the smallest, since the smallest lies above `refused`.
  for (double factor : {1.05, 1.04, 1.025}) {
    EXPECT_TRUE(RunsWithin(int64_t(factor * double(refused)), program)) << factor;
  }
}

}  // namespace
}  // namespace moai
