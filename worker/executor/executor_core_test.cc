#include "worker/executor/executor_core.h"

#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "program/allocation.h"
#include "worker/kernels/cpu/cpu_kernels.h"

namespace moai {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMemory = 16 << 20;

TensorType Floats(int64_t n) { return {Dtype::kF32, Shape{n}}; }

template <typename T>
absl::Span<const std::byte> BytesOf(const std::vector<T>& numbers) {
  return {reinterpret_cast<const std::byte*>(numbers.data()), numbers.size() * sizeof(T)};
}

class ExecutorCoreTest : public ::testing::Test {
 protected:
  explicit ExecutorCoreTest(int64_t memory = kMemory)
      : core_({.memory_bytes = memory, .device = {1}, .make_kernel = MakeCpuKernel}) {}

  // Loads a graph as structure and program `name`.
  void Load(uint32_t name, GraphBuilder& builder) {
    CapturedGraph captured = builder.Finish();
    ASSERT_TRUE(core_.LoadStructure(name, CompileForDevices(std::move(captured.graph))).ok());
    const absl::Status status =
        core_.LoadProgram(name, {.graph = name, .structure = name, .sizes = captured.sizes});
    ASSERT_TRUE(status.ok()) << status;
  }

  // value 0 + value 1 -> output
  void LoadAdd(uint32_t name, int64_t n) {
    GraphBuilder builder;
    const ValueId a = builder.AddInput(InputKind::kValue, 0, Floats(n));
    const ValueId b = builder.AddInput(InputKind::kValue, 1, Floats(n));
    builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kAdd, {a, b}));
    Load(name, builder);
  }

  // slot 0 *= scalar 0; rows of slot 0 at feed 0 -> output
  void LoadScaleAndLookUp(uint32_t name, int64_t rows, int64_t indices) {
    GraphBuilder builder;
    const ValueId slot = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, Shape{rows, 1}});
    const ValueId index = builder.AddInput(InputKind::kFeed, 0, {Dtype::kI64, Shape{indices}});
    const ValueId scale = builder.AddScalar(Dtype::kF32);
    builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kEmbedding, {slot, index}));
    builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kMul, {slot, scale}), 0);
    Load(name, builder);
  }

  void Upload(uint64_t id, const std::vector<float>& numbers, const Shape& shape) {
    ASSERT_TRUE(core_.Upload(id, {Dtype::kF32, shape}, BytesOf(numbers)).ok());
  }
  void Upload(uint64_t id, const std::vector<float>& numbers) {
    Upload(id, numbers, Shape{int64_t(numbers.size())});
  }

  std::vector<float> Read(uint64_t id) {
    ReadView view = core_.Read(id);
    EXPECT_TRUE(view.status.ok()) << view.status;
    if (!view.status.ok()) return {};
    std::vector<float> numbers(size_t(view.bytes->size()) / sizeof(float));
    memcpy(numbers.data(), view.bytes->data(), size_t(view.bytes->size()));
    return numbers;
  }

  absl::Status Add(uint64_t a, uint64_t b, uint64_t output, uint32_t program = 1) {
    const ObjectRange values[] = {{a, 1}, {b, 1}};
    return core_.Execute(
        {.step = ++step_, .program = program, .values = values, .first_output = output});
  }

  absl::Status ScaleAndLookUp(uint64_t slot, std::vector<int64_t> indices, uint64_t output,
                              std::vector<ScalarUpdate> scalars,
                              const std::function<void()>& settled = nullptr) {
    const ObjectRange slots[] = {{slot, 1}};
    const FeedSource feeds[] = {{BytesOf(indices)}};
    return core_.Execute({.step = ++step_,
                          .program = 2,
                          .slots = slots,
                          .scalars = scalars,
                          .feeds = feeds,
                          .first_output = output},
                         settled);
  }

  ExecutorCore core_;
  uint64_t step_ = 0;
};

TEST_F(ExecutorCoreTest, RunsAStep) {
  LoadAdd(1, 3);
  Upload(10, {1, 2, 3});
  Upload(11, {10, 20, 30});
  EXPECT_TRUE(Add(10, 11, 12).ok());
  EXPECT_THAT(Read(12), ElementsAre(11, 22, 33));
}

TEST_F(ExecutorCoreTest, ABadIndexLeavesTheSlotAndNamesOpValueAndLimit) {
  LoadScaleAndLookUp(2, 3, 2);
  Upload(5, {1, 2, 3}, Shape{3, 1});
  EXPECT_TRUE(ScaleAndLookUp(5, {2, 0}, 20, {{0, {.f64 = 10}}}).ok());
  EXPECT_THAT(Read(20), ElementsAre(3, 1));
  EXPECT_THAT(Read(5), ElementsAre(10, 20, 30));
  const absl::Status bad = ScaleAndLookUp(5, {0, 3}, 21, {});
  EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(bad.message(), HasSubstr("step 2: embedding: index 3 is outside [0, 3)"));
  EXPECT_THAT(Read(5), ElementsAre(10, 20, 30));
  EXPECT_EQ(core_.Read(21).status, bad);
  EXPECT_EQ(core_.TakeFirstError(), bad);
  EXPECT_TRUE(core_.TakeFirstError().ok());
  // The scalar of the last step is remembered.
  EXPECT_TRUE(ScaleAndLookUp(5, {1, 1}, 22, {}).ok());
  EXPECT_THAT(Read(5), ElementsAre(100, 200, 300));
}

TEST_F(ExecutorCoreTest, PoisonSpreadsToWhatDependsOnIt) {
  LoadAdd(1, 2);
  LoadScaleAndLookUp(2, 3, 2);
  Upload(5, {1, 2, 3}, Shape{3, 1});
  Upload(6, {1, 2});
  const absl::Status bad = ScaleAndLookUp(5, {0, -1}, 20, {{0, {.f64 = 1}}});
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(Add(6, 20, 30), bad);
  EXPECT_EQ(core_.Read(30).status, bad);
  EXPECT_TRUE(Add(6, 6, 31).ok());
}

TEST_F(ExecutorCoreTest, CreatesASlotThatOnlyAnOutputNames) {
  GraphBuilder builder;
  const ValueId a = builder.AddInput(InputKind::kValue, 0, Floats(2));
  builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kNeg, {a}), 0);
  Load(3, builder);
  Upload(10, {1, 2});
  const ObjectRange slots[] = {{50, 1}}, values[] = {{10, 1}};
  EXPECT_TRUE(core_.Execute({.step = 1, .program = 3, .slots = slots, .values = values}).ok());
  EXPECT_THAT(Read(50), ElementsAre(-1, -2));
  // Again, with the slots of before: replaces it.
  Upload(11, {5, 6});
  const ObjectRange others[] = {{11, 1}};
  EXPECT_TRUE(core_.Execute({.step = 2, .program = 3, .same_slots = true, .values = others}).ok());
  EXPECT_THAT(Read(50), ElementsAre(-5, -6));
}

TEST_F(ExecutorCoreTest, RemembersSlotsAndNoticesThatOneHasGone) {
  LoadScaleAndLookUp(2, 3, 1);
  Upload(5, {1, 2, 3}, Shape{3, 1});
  EXPECT_TRUE(ScaleAndLookUp(5, {0}, 20, {{0, {.f64 = 2}}}).ok());
  const std::vector<int64_t> index = {1};
  const FeedSource feeds[] = {{BytesOf(index)}};
  const StepCommand again{
      .step = 2, .program = 2, .same_slots = true, .feeds = feeds, .first_output = 21};
  EXPECT_TRUE(core_.Execute(again).ok());
  EXPECT_THAT(Read(21), ElementsAre(4));
  core_.Release({5, 1});
  const absl::Status gone = core_.Execute(
      {.step = 3, .program = 2, .same_slots = true, .feeds = feeds, .first_output = 22});
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
}

TEST_F(ExecutorCoreTest, WaitsForAnUpload) {
  LoadAdd(1, 2);
  Upload(10, {1, 2});
  auto arrival = core_.OpenUpload(11, Floats(2), steady_clock::now() + seconds(60));
  ASSERT_TRUE(arrival.ok());
  std::thread bringer([arrival = *arrival] {
    const float numbers[] = {100, 200};
    memcpy(arrival.bytes->data(), numbers, sizeof(numbers));
    arrival.gate->Open(absl::OkStatus());
  });
  EXPECT_TRUE(Add(10, 11, 12).ok());
  EXPECT_THAT(Read(12), ElementsAre(101, 202));
  bringer.join();
}

TEST_F(ExecutorCoreTest, AnUploadThatDoesNotComeFailsWhatNeedsIt) {
  LoadAdd(1, 2);
  Upload(10, {1, 2});
  ASSERT_TRUE(core_.OpenUpload(11, Floats(2), steady_clock::now()).ok());
  EXPECT_EQ(Add(10, 11, 12).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(core_.Read(12).status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ExecutorCoreTest, AReadKeepsASlotAsItWas) {
  LoadScaleAndLookUp(2, 2, 1);
  Upload(5, {1, 2}, Shape{2, 1});
  ReadView view = core_.Read(5);
  auto gate = std::make_shared<TransferGate>(steady_clock::now() + seconds(60));
  core_.HoldForRead(5, gate);
  std::vector<float> seen(2);
  std::thread reader([&] {
    memcpy(seen.data(), view.bytes->data(), 8);
    gate->Open(absl::OkStatus());
  });
  EXPECT_TRUE(ScaleAndLookUp(5, {0}, 20, {{0, {.f64 = 3}}}).ok());
  reader.join();
  EXPECT_THAT(seen, ElementsAre(1, 2));
  EXPECT_THAT(Read(5), ElementsAre(3, 6));
}

// Once the step has settled, what does not come from the write of a slot is there.
TEST_F(ExecutorCoreTest, GivesWhatIsCompleteBeforeASlotIsWritten) {
  GraphBuilder builder;
  const ValueId slot = builder.AddInput(InputKind::kSlot, 0, Floats(3));
  const ValueId other = builder.AddInput(InputKind::kSlot, 1, Floats(3));
  const ValueId row = *builder.AddNode(Op::kReshape, {slot}, {2}, {1, 3});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kMatmul, {row, row}, {0, 1}));
  const ValueId doubled = *builder.AddNode(Op::kAdd, {slot, slot});
  builder.AddOutput(OutputKind::kSlot, doubled, 0);
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceSum, {doubled}, {0}));
  builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kAdd, {doubled, other}), 1);
  Load(1, builder);
  Upload(5, {1, 2, 3});
  Upload(6, {0, 0, 0});
  const ObjectRange slots[] = {{5, 2}};
  int times = 0;
  const absl::Status status =
      core_.Execute({.step = 1, .program = 1, .slots = slots, .first_output = 20}, [&] {
        ++times;
        EXPECT_THAT(core_.complete_early(), Contains(20));
        for (const uint64_t id : core_.complete_early()) EXPECT_TRUE(core_.Read(id).status.ok());
        EXPECT_THAT(Read(20), ElementsAre(14));
        EXPECT_THAT(Read(5), ElementsAre(1, 2, 3));
        EXPECT_THAT(Read(6), ElementsAre(0, 0, 0));
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(times, 1);
  EXPECT_TRUE(core_.complete_early().empty());
  EXPECT_THAT(Read(20), ElementsAre(14));
  EXPECT_THAT(Read(21), ElementsAre(12));
  EXPECT_THAT(Read(6), ElementsAre(2, 4, 6));
}

TEST_F(ExecutorCoreTest, AStepThatFailsDoesNotSettle) {
  LoadScaleAndLookUp(2, 2, 1);
  Upload(5, {1, 2}, Shape{2, 1});
  const absl::Status status =
      ScaleAndLookUp(5, {2}, 20, {{0, {.f64 = 3}}}, [] { ADD_FAILURE() << "settled"; });
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST_F(ExecutorCoreTest, TakesUploadedFeedsAndConsumesThem) {
  LoadScaleAndLookUp(2, 3, 2);
  Upload(5, {1, 2, 3}, Shape{3, 1});
  const std::vector<int64_t> indices = {2, 1};
  ASSERT_TRUE(core_.Upload(9, {Dtype::kI64, Shape{2}}, BytesOf(indices)).ok());
  const ObjectRange slots[] = {{5, 1}};
  const FeedSource feeds[] = {{{}, 9}};
  const ScalarUpdate scalars[] = {{0, {.f64 = 1}}};
  EXPECT_TRUE(core_
                  .Execute({.step = 1,
                            .program = 2,
                            .slots = slots,
                            .scalars = scalars,
                            .feeds = feeds,
                            .first_output = 20})
                  .ok());
  EXPECT_THAT(Read(20), ElementsAre(3, 2));
  EXPECT_EQ(core_.Read(9).status.code(), absl::StatusCode::kNotFound);
}

TEST_F(ExecutorCoreTest, ReleasesRangesAndTheirMemory) {
  for (uint64_t id = 1; id <= 10; ++id) Upload(id, {1, 2, 3});
  core_.Release({3, 2});
  EXPECT_EQ(core_.object_count(), 8u);
  core_.Release({5, ~uint64_t{0}});
  core_.Release({0, 5});
  EXPECT_EQ(core_.object_count(), 0u);
  EXPECT_EQ(core_.bytes_in_use(), 0);
}

TEST_F(ExecutorCoreTest, RefusesWhatNamesNothing) {
  LoadAdd(1, 2);
  Upload(10, {1, 2});
  Upload(11, {1, 2, 3});
  EXPECT_EQ(Add(10, 99, 12).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Add(10, 11, 13).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Add(10, 10, 14, /*program=*/7).code(), absl::StatusCode::kInternal);
}

// The smallest device that holds a step, to the byte.
class TightExecutorTest : public ExecutorCoreTest {
 protected:
  static constexpr int64_t kElements = 100000;
  static constexpr int64_t kTensor = 401408;  // 400,000 bytes in whole pages
  // Two inputs, one output, and the arena's least.
  TightExecutorTest() : ExecutorCoreTest(3 * kTensor + kPageBytes) {}
};

TEST_F(TightExecutorTest, RunsOnExactlyWhatThePlanSays) {
  LoadAdd(1, kElements);
  Upload(10, std::vector<float>(kElements, 1));
  Upload(11, std::vector<float>(kElements, 2));
  for (uint64_t output = 20; output < 30; ++output) {
    const absl::Status status = Add(10, 11, output);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Read(output)[kElements - 1], 3);
    EXPECT_EQ(core_.bytes_in_use(), 3 * kTensor + kPageBytes);
    core_.Release({output, 1});
  }
  EXPECT_EQ(core_.bytes_peak(), 3 * kTensor + kPageBytes);
  // The arena gives way to a tensor.
  Upload(12, std::vector<float>(kElements, 1));
  EXPECT_EQ(Add(10, 11, 40).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(core_.Read(40).status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace moai
