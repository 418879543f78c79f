#include "scheduler/planning/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "graph/builder.h"
#include "scheduler/cost/gpu_types.h"
#include "scheduler/cost/op_cost.h"
#include "scheduler/planning/stage_sample.h"

namespace moai {
namespace {

// A part as it stands. Its group 0: this device and one other.
StepCost CostOf(CapturedGraph captured, Overlap overlap = Overlap::kAll) {
  PartitionedGraph partitioned;
  partitioned.turns = {std::vector<NodeTurn>(captured.graph.nodes.size(), NodeTurn::kOnce)};
  partitioned.makes_terms = {std::vector<bool>(captured.graph.nodes.size(), false)};
  partitioned.sources = {
      std::vector<uint32_t>(captured.graph.nodes.size(), PartitionedGraph::kNoSource)};
  partitioned.parts.push_back({std::make_shared<const Graph>(std::move(captured.graph)),
                               captured.sizes,
                               {DeviceGroup{{0, 1}}},
                               {}});
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), 1, 8);
  return *Evaluate(cluster, partitioned, {.overlap = overlap});
}

constexpr int64_t kElements = 1 << 20;

// A slot that is read has its memory already; one that the step creates does not.
TEST(Evaluate, StateThatIsCreatedIsAliveToTheEnd) {
  GraphBuilder builder;
  const ValueId zero = builder.AddScalar(Dtype::kF32);
  const ValueId moments = *builder.AddNode(Op::kFill, {zero}, {1}, {kElements});
  builder.AddOutput(OutputKind::kSlot, moments, 0);
  EXPECT_EQ(CostOf(builder.Finish()).total_bytes(), 4 * kElements);
}

TEST(Evaluate, StateThatIsReplacedIsCountedOnce) {
  GraphBuilder builder;
  const ValueId moments = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, Shape{kElements}});
  builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kNeg, {moments}), 0);
  const StepCost cost = CostOf(builder.Finish());
  EXPECT_EQ(cost.state, 4 * kElements);
  EXPECT_EQ(cost.temporaries, 0);
}

// Of a chain of products each needs the one before it only.
TEST(Evaluate, ValuesAreAliveUntilTheyWereRead) {
  GraphBuilder builder;
  const ValueId weight = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, Shape{1024, 1024}});
  ValueId x = weight;
  for (int i = 0; i < 5; ++i) x = *builder.AddNode(Op::kMatmul, {x, weight}, {0, 0});
  builder.AddOutput(OutputKind::kValue, x);
  EXPECT_EQ(CostOf(builder.Finish()).temporaries, 2 * 4 * kElements);
}

// A collective's result is read at the end; a product that takes longer is computed meanwhile.
StepCost CollectiveBesideAProduct(Op op, absl::Span<const int32_t> attributes,
                                  absl::Span<const int64_t> extents, Overlap overlap) {
  GraphBuilder builder;
  const ValueId gradient = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{1024, 64}});
  const ValueId weight = builder.AddInput(InputKind::kFeed, 1, {Dtype::kF32, Shape{4096, 4096}});
  const ValueId made = *builder.AddNode(Op::kNeg, {gradient});
  const ValueId whole = *builder.AddNode(op, {made}, attributes, extents);
  const ValueId product = *builder.AddNode(Op::kMatmul, {weight, weight}, {0, 0});
  builder.AddOutput(OutputKind::kValue, product);
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kNeg, {whole}));
  return CostOf(builder.Finish(), overlap);
}

TEST(Evaluate, SumsAloneOverlapWhereOnlySumsDo) {
  const auto sum = [](Overlap overlap) {
    return CollectiveBesideAProduct(Op::kAllReduce, {0, int32_t(ReduceKind::kSum)}, {}, overlap);
  };
  const auto gather = [](Overlap overlap) {
    return CollectiveBesideAProduct(Op::kAllGather, {0, 0}, {2048, 1}, overlap);
  };
  for (const auto& cost_of : {std::function(sum), std::function(gather)}) {
    const StepCost one = cost_of(Overlap::kNone), both = cost_of(Overlap::kAll);
    ASSERT_GT(one.communication, 0);
    ASSERT_GT(one.compute, 2 * one.communication);
    EXPECT_LT(both.seconds, one.seconds - one.communication / 2);
  }
  const StepCost one = sum(Overlap::kNone);
  // What a core does for it is not hidden.
  const double core = std::min(one.communication, one.sent_bytes / 2e9);
  EXPECT_NEAR(sum(Overlap::kSums).seconds, one.seconds - one.communication + core, 1e-12);
  EXPECT_DOUBLE_EQ(gather(Overlap::kSums).seconds, gather(Overlap::kNone).seconds);
}

// What a product adds to its gradient's sum is read, added and written once a micro-batch.
TEST(Evaluate, SumsOverMicroBatchesTakeTime) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{1024, 1024}});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kMatmul, {x, x}, {1, 0}));
  const CapturedGraph captured = builder.Finish();
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), 1, 8);
  const auto seconds = [&](bool makes_terms) {
    PartitionedGraph partitioned;
    partitioned.turns = {{NodeTurn::kMicroBatch}};
    partitioned.sources = {{0}};
    partitioned.makes_terms = {{makes_terms}};
    partitioned.parts.push_back(
        {std::make_shared<const Graph>(captured.graph), captured.sizes, {}, {}});
    return Evaluate(cluster, partitioned, {.micro_batches = 4})->seconds;
  };
  const double sum = StreamingSeconds(cluster.device, kElements, 3 * 4 * kElements);
  EXPECT_NEAR(seconds(true) - seconds(false), 4 * sum, 1e-9);
}

TEST(Evaluate, StagesDoNotOverlapAcrossABarrier) {
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), 1, 8);
  const std::vector<StageCost> stages = {{.micro_batch = 2, .once = 1}, {.micro_batch = 3}};
  const auto seconds = [&](bool barrier) {
    return CostOfStages(cluster, stages, {.micro_batches = 4, .barrier = barrier}).seconds -
           cluster.device.step_seconds;
  };
  EXPECT_NEAR(seconds(false), 4 * 3 + 2 + 1, 1e-9);
  EXPECT_NEAR(seconds(true), 4 * (2 + 3) + 1, 1e-9);
}

}  // namespace
}  // namespace moai
