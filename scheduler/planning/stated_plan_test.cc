#include "scheduler/planning/stated_plan.h"

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "scheduler/planning/lower_bound.h"

namespace moai {
namespace {

using testing::HasSubstr;

// relu(x [samples, 16] w [16, 64]) v [64, 16].
class StatedPlanTest : public testing::Test {
 protected:
  static constexpr int64_t kSamples = 24, kHidden = 16, kFfn = 64;

  StatedPlanTest() {
    GraphBuilder builder;
    const auto input = [&](InputKind kind, uint32_t index, Shape shape) {
      return builder.AddInput(kind, index, {Dtype::kF32, shape});
    };
    const ValueId x = input(InputKind::kFeed, 0, {kSamples, kHidden});
    const ValueId w = input(InputKind::kSlot, 0, {kHidden, kFfn});
    const ValueId v = input(InputKind::kSlot, 1, {kFfn, kHidden});
    const auto add = [&](Op op, std::vector<ValueId> inputs, std::vector<int32_t> attributes = {}) {
      return builder.AddNode(op, inputs, attributes, {}).value();
    };
    const ValueId h = add(Op::kRelu, {add(Op::kMatmul, {x, w}, {0, 0})});
    builder.AddOutput(OutputKind::kValue, add(Op::kMatmul, {h, v}, {0, 0}));
    captured_ = builder.Finish();
    facts_ = *GraphFacts::Make(captured_.graph, captured_.sizes, captured_.types);
  }

  int64_t Extent(RoleId role) const { return facts_.roles()[role].extent; }

  CapturedGraph captured_;
  GraphFacts facts_;
};

TEST_F(StatedPlanTest, DataSplitsTheSamplesAndModelWhatIsNoFeed) {
  const auto candidates = CandidatesFor(
      facts_, {.data = 2, .model = 4, .micro_batches = 3, .light = LightNodes::kWhole});
  ASSERT_TRUE(candidates.ok()) << candidates.status();
  // Which roles the tensor axis splits is not stated; one way is the ffn, in both products.
  const auto found =
      std::find_if(candidates->begin(), candidates->end(), [&](const Candidate& one) {
        return one.axes.size() == 2 && one.axes[1].roles.size() == 1 &&
               Extent(one.axes[1].roles[0]) == kFfn;
      });
  ASSERT_NE(found, candidates->end());
  const Candidate& c = *found;
  EXPECT_THAT(c.axis_names, testing::ElementsAre("data", "model"));
  EXPECT_EQ(c.axes[0].extent, 2);
  ASSERT_EQ(c.axes[0].roles.size(), 1u);
  EXPECT_EQ(Extent(c.axes[0].roles[0]), kSamples);
  EXPECT_EQ(c.axes[1].extent, 4);
  EXPECT_EQ(c.micro_batches, 3);
  EXPECT_EQ(c.time_roles, c.axes[0].roles);
}

TEST_F(StatedPlanTest, StateInGroupsIsAnAxisOfItsOwn) {
  const auto candidates =
      CandidatesFor(facts_, {.data = 8, .state = StateSharding::kParameters, .state_group = 2});
  ASSERT_TRUE(candidates.ok()) << candidates.status();
  const Candidate& c = candidates->at(0);
  EXPECT_THAT(c.axis_names, testing::ElementsAre("replica", "data"));
  EXPECT_EQ(c.axes[0].extent, 4);
  EXPECT_EQ(c.axes[0].state, StateSharding::kNone);
  EXPECT_EQ(c.axes[1].extent, 2);
  EXPECT_EQ(c.axes[1].state, StateSharding::kParameters);
  EXPECT_FALSE(CandidatesFor(facts_, {.data = 8, .state_group = 3}).ok());
}

TEST_F(StatedPlanTest, LightNodesEitherWay) {
  const auto count = [&](LightNodes light) {
    return CandidatesFor(facts_, {.model = 4, .light = light})->size();
  };
  EXPECT_EQ(count(LightNodes::kEither), count(LightNodes::kWhole) + count(LightNodes::kSplit));
}

TEST_F(StatedPlanTest, TheContextAxisLeavesTheSamplesAlone) {
  const auto candidates = CandidatesFor(facts_, {.data = 2, .context = 2});
  ASSERT_TRUE(candidates.ok()) << candidates.status();
  const Candidate& c = candidates->at(0);
  EXPECT_THAT(c.axis_names, testing::ElementsAre("data", "context"));
  for (RoleId role : c.axes[1].roles) EXPECT_NE(role, c.axes[0].roles[0]);
}

TEST_F(StatedPlanTest, SaysWhatCannotBe) {
  const auto why = [&](const StatedPlan& plan) {
    return std::string(CandidatesFor(facts_, plan).status().message());
  };
  EXPECT_THAT(why({.data = 5}), HasSubstr("24 samples do not divide over 5 replicas"));
  EXPECT_THAT(why({.data = 2, .micro_batches = 5}), HasSubstr("5 micro-batches"));
  EXPECT_THAT(why({.model = 128}), HasSubstr("can be split 128 ways"));
}

TEST_F(StatedPlanTest, TheLowerBoundIsTheWorkSpreadEvenly) {
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), 1);
  const LowerBound one = FindLowerBound(cluster, captured_.graph, captured_.types, 1);
  const LowerBound four = FindLowerBound(cluster, captured_.graph, captured_.types, 4);
  const double flops = 2.0 * 2 * kSamples * kHidden * kFfn;
  const DeviceModel& device = cluster.device;
  EXPECT_DOUBLE_EQ(one.arithmetic, flops / (device.peak(MathFor(device, Dtype::kF32)) *
                                            device.matmul.peak_fraction));
  EXPECT_DOUBLE_EQ(four.arithmetic, one.arithmetic / 4);
  EXPECT_GT(one.other, 0);
  EXPECT_DOUBLE_EQ(four.other, one.other / 4);
  EXPECT_DOUBLE_EQ(four.seconds, four.arithmetic + four.other + device.step_seconds);
}

}  // namespace
}  // namespace moai
