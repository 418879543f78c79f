#include "scheduler/planning/evaluate.h"

#include <gtest/gtest.h>

#include "graph/builder.h"
#include "scheduler/cost/gpu_types.h"

namespace moai {
namespace {

// A part as it stands, on a device of its own.
StepCost CostOf(CapturedGraph captured) {
  PartitionedGraph partitioned;
  partitioned.turns = {std::vector<NodeTurn>(captured.graph.nodes.size(), NodeTurn::kOnce)};
  partitioned.sources = {
      std::vector<uint32_t>(captured.graph.nodes.size(), PartitionedGraph::kNoSource)};
  partitioned.parts.push_back(
      {std::make_shared<const Graph>(std::move(captured.graph)), captured.sizes, {}, {}});
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), 1, 8);
  return *Evaluate(cluster, partitioned, {});
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

}  // namespace
}  // namespace moai
