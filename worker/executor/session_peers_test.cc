// The executor cores of a session's devices, in one process, with real links between them.
#include "worker/executor/session_peers.h"

#include <functional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_core.h"
#include "worker/kernels/cpu/cpu_kernels.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kDevices = 3;

TensorType Floats(int64_t n) { return {Dtype::kF32, Shape{n}}; }

template <typename T>
absl::Span<const std::byte> BytesOf(const std::vector<T>& numbers) {
  return {reinterpret_cast<const std::byte*>(numbers.data()), numbers.size() * sizeof(T)};
}

class SessionPeersTest : public ::testing::Test {
 protected:
  SessionPeersTest() {
    proto::SessionShape shape;
    shape.add_devices(kDevices);
    auto peers = SessionPeers::Open(shape, "");
    EXPECT_TRUE(peers.ok()) << peers.status();
    peers_ = *std::move(peers);
    for (uint32_t i = 0; i < kDevices; ++i) {
      cores_.push_back(std::make_unique<ExecutorCore>(ExecutorOptions{.memory_bytes = 1 << 20,
                                                                      .device = {1},
                                                                      .make_kernel = MakeCpuKernel,
                                                                      .peers = peers_->For(i)}));
    }
    OnEach([&](uint32_t) { EXPECT_TRUE(peers_->Connect({}).ok()); });
  }

  // Runs on each device's own thread.
  void OnEach(const std::function<void(uint32_t rank)>& run) {
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < kDevices; ++i) threads.emplace_back([&run, i] { run(i); });
    for (std::thread& thread : threads) thread.join();
  }

  void Load(uint32_t name, GraphBuilder& builder, bool collectives) {
    const CapturedGraph captured = builder.Finish();
    const auto structure = CompileForDevices(captured.graph);
    OnEach([&](uint32_t rank) {
      EXPECT_TRUE(cores_[rank]->LoadStructure(name, structure).ok());
      const absl::Status status = cores_[rank]->LoadProgram(name, {.graph = name,
                                                                   .structure = name,
                                                                   .sizes = captured.sizes,
                                                                   .groups = {{0, 1, 2}},
                                                                   .collectives = collectives});
      EXPECT_TRUE(status.ok()) << status;
    });
  }

  // slot 0 += sum over the devices of (rows of slot 0 at feed 0).
  void LoadLookUpAndAdd(uint32_t name) {
    GraphBuilder builder;
    const TensorType table{Dtype::kF32, Shape{2, 1}};
    const ValueId slot = builder.AddInput(InputKind::kSlot, 0, table);
    const ValueId index = builder.AddInput(InputKind::kFeed, 0, {Dtype::kI64, Shape{2}});
    const ValueId found = *builder.AddNode(Op::kEmbedding, {slot, index});
    const ValueId all =
        *builder.AddNode(Op::kAllReduce, {found}, {/*group=*/0, int32_t(ReduceKind::kSum)});
    builder.AddOutput(OutputKind::kValue, all);
    builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kAdd, {slot, all}), 0);
    Load(name, builder, /*collectives=*/true);
  }

  absl::Status LookUp(uint32_t rank, uint64_t step, std::vector<int64_t> indices) {
    const FeedSource feeds[] = {{BytesOf(indices), 0}};
    const ObjectRange slots[] = {{1, 1}};
    return cores_[rank]->Execute(
        {.step = step, .program = 1, .slots = slots, .feeds = feeds, .first_output = 10 * step});
  }

  std::vector<float> Read(uint32_t rank, uint64_t id) {
    const ReadView view = cores_[rank]->Read(id);
    if (!view.status.ok()) return {};
    const float* numbers = reinterpret_cast<const float*>(view.bytes->data());
    return {numbers, numbers + view.bytes->size() / int64_t{sizeof(float)}};
  }

  std::unique_ptr<SessionPeers> peers_;
  std::vector<std::unique_ptr<ExecutorCore>> cores_;
};

TEST_F(SessionPeersTest, AStepOfSeveralDevices) {
  LoadLookUpAndAdd(1);
  OnEach([&](uint32_t rank) {
    const std::vector<float> table = {float(rank + 1), 10.0f};
    ASSERT_TRUE(cores_[rank]->Upload(1, {Dtype::kF32, Shape{2, 1}}, BytesOf(table)).ok());
    EXPECT_TRUE(LookUp(rank, 1, {0, 1}).ok());
  });
  for (uint32_t rank = 0; rank < kDevices; ++rank) {
    EXPECT_THAT(Read(rank, 10), ElementsAre(6, 30));
    EXPECT_THAT(Read(rank, 1), ElementsAre(float(rank) + 7, 40));
  }
}

TEST_F(SessionPeersTest, BadDataOnOneDeviceCostsTheStepOnAll) {
  LoadLookUpAndAdd(1);
  const std::vector<float> table = {1, 2};
  OnEach([&](uint32_t rank) {
    ASSERT_TRUE(cores_[rank]->Upload(1, {Dtype::kF32, Shape{2, 1}}, BytesOf(table)).ok());
    const int64_t index = rank == 0 ? 1 : 5 + rank;
    const absl::Status status = LookUp(rank, 1, {0, index});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    // The lowest rank's words.
    EXPECT_THAT(status.message(), HasSubstr("step 1: embedding: index 6 is outside [0, 2)"));
    EXPECT_THAT(cores_[rank]->TakeFirstError().message(), HasSubstr("index 6"));
  });
  for (uint32_t rank = 0; rank < kDevices; ++rank) EXPECT_THAT(Read(rank, 1), ElementsAre(1, 2));
  OnEach([&](uint32_t rank) { EXPECT_TRUE(LookUp(rank, 2, {0, 0}).ok()); });
  for (uint32_t rank = 0; rank < kDevices; ++rank) EXPECT_THAT(Read(rank, 20), ElementsAre(3, 3));
}

TEST_F(SessionPeersTest, ADeviceThatCannotBeginHoldsNobodyUp) {
  LoadLookUpAndAdd(1);
  const std::vector<float> table = {1, 2};
  OnEach([&](uint32_t rank) {
    // The last device has no such slot.
    if (rank != 2) {
      ASSERT_TRUE(cores_[rank]->Upload(1, {Dtype::kF32, Shape{2, 1}}, BytesOf(table)).ok());
    }
    const absl::Status status = LookUp(rank, 1, {0, 1});
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(status.message(), HasSubstr("slot binding 0: id 1 does not exist"));
  });
  EXPECT_THAT(Read(0, 1), ElementsAre(1, 2));
}

TEST_F(SessionPeersTest, WithoutCollectivesTheDevicesAgreeStill) {
  GraphBuilder builder;
  const ValueId slot = builder.AddInput(InputKind::kSlot, 0, Floats(2));
  const ValueId value = builder.AddInput(InputKind::kValue, 0, Floats(2));
  builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kAdd, {slot, value}), 0);
  Load(1, builder, /*collectives=*/false);
  const std::vector<float> numbers = {1, 2};
  OnEach([&](uint32_t rank) {
    ASSERT_TRUE(cores_[rank]->Upload(1, Floats(2), BytesOf(numbers)).ok());
    if (rank != 1) {
      ASSERT_TRUE(cores_[rank]->Upload(2, Floats(2), BytesOf(numbers)).ok());
    }
    const ObjectRange slots[] = {{1, 1}}, values[] = {{2, 1}};
    const absl::Status status =
        cores_[rank]->Execute({.step = 1, .program = 1, .slots = slots, .values = values});
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  });
  for (uint32_t rank = 0; rank < kDevices; ++rank) EXPECT_THAT(Read(rank, 1), ElementsAre(1, 2));
}

TEST_F(SessionPeersTest, ABrokenLinkEndsTheStepOnAllDevices) {
  LoadLookUpAndAdd(1);
  const std::vector<float> table = {1, 2};
  OnEach([&](uint32_t rank) {
    ASSERT_TRUE(cores_[rank]->Upload(1, {Dtype::kF32, Shape{2, 1}}, BytesOf(table)).ok());
    if (rank == 1) return peers_->Abort(absl::UnavailableError("the cable was pulled"));
    const absl::Status status = LookUp(rank, 1, {0, 1});
    EXPECT_THAT(status.message(), HasSubstr("the cable was pulled"));
    EXPECT_THAT(cores_[rank]->link_status().message(), HasSubstr("the cable was pulled"));
  });
}

TEST_F(SessionPeersTest, ARenamedObjectTakesTheOthersPlace) {
  GraphBuilder builder;
  const ValueId slot = builder.AddInput(InputKind::kSlot, 0, Floats(1));
  builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kAdd, {slot, slot}), 0);
  Load(1, builder, /*collectives=*/false);
  OnEach([&](uint32_t rank) {
    ExecutorCore& core = *cores_[rank];
    const std::vector<float> old = {1}, replacement = {20};
    ASSERT_TRUE(core.Upload(1, Floats(1), BytesOf(old)).ok());
    const ObjectRange slots[] = {{1, 1}};
    EXPECT_TRUE(core.Execute({.step = 1, .program = 1, .slots = slots}).ok());
    ASSERT_TRUE(core.Upload(2, Floats(1), BytesOf(replacement)).ok());
    core.Rename(2, 1);
    // The graph has resolved its slot already.
    EXPECT_TRUE(core.Execute({.step = 2, .program = 1, .same_slots = true}).ok());
  });
  for (uint32_t rank = 0; rank < kDevices; ++rank) {
    EXPECT_THAT(Read(rank, 1), ElementsAre(40));
    EXPECT_EQ(cores_[rank]->Read(2).status.code(), absl::StatusCode::kNotFound);
  }
}

}  // namespace
}  // namespace moai
