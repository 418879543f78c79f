#include "program/step_account.h"

#include <memory>

#include "graph/builder.h"
#include "graph/signature.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

// Two all_reduces of six f32 numbers, in groups of three and of one.
DeviceGraph TwoAllReduces() {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, {Dtype::kF32, {2, 3}});
  const auto sum = static_cast<int32_t>(ReduceKind::kSum);
  const ValueId first = builder.AddNode(Op::kAllReduce, {x}, {0, sum}).value();
  const ValueId second = builder.AddNode(Op::kAllReduce, {first}, {1, sum}).value();
  builder.AddOutput(OutputKind::kValue, second);
  CapturedGraph captured = builder.Finish();
  return {.graph = std::make_shared<const Graph>(std::move(captured.graph)),
          .sizes = std::move(captured.sizes),
          .groups = {{1, 4, 5}, {4}}};
}

std::vector<TensorType> Types() { return std::vector<TensorType>(3, {Dtype::kF32, {2, 3}}); }

TEST(StepAccountTest, CountsWhatEachMemberSends) {
  const DeviceGraph part = TwoAllReduces();
  // Small: the whole tensor to each of the two others.
  const CollectiveCounts two = {{Op::kAllReduce, {.calls = 2, .bytes = 2 * 24}}};
  EXPECT_EQ(PredictCollectives(part, Types(), /*rank=*/4), two);
  const CollectiveCounts one = {{Op::kAllReduce, {.calls = 1, .bytes = 2 * 24}}};
  EXPECT_EQ(PredictCollectives(part, Types(), /*rank=*/5), one);
  EXPECT_TRUE(PredictCollectives(part, Types(), /*rank=*/0).empty());
}

TEST(StepAccountTest, SaysEverythingInOneLine) {
  EXPECT_EQ(ToString(StepAccount{}), "objects=0 arena=0 sent=-");
  const StepAccount account = {
      .object_bytes = 64,
      .arena_bytes = 4096,
      .sent = {{Op::kAllReduce, {.calls = 2, .bytes = 48}}, {Op::kSend, {.calls = 1}}}};
  EXPECT_EQ(ToString(account), "objects=64 arena=4096 sent=all_reduce:2:48,send:1:0");
}

}  // namespace
}  // namespace moai
