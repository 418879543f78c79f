#include "scheduler/planning/micro_batch_barrier.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "graph/builder.h"

namespace moai {
namespace {

// y = -x, s = the sum of y, z = y - s, w = z * weight.
struct Chain {
  GraphBuilder builder;
  ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{8, 4}});
  ValueId weight = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, Shape{}});
  ValueId y = *builder.AddNode(Op::kNeg, {x});
  ValueId s = *builder.AddNode(Op::kReduceSum, {y}, {0, 1});
  ValueId z = *builder.AddNode(Op::kSub, {y, s});
  ValueId w = *builder.AddNode(Op::kMul, {z, weight});

  // One device; when each node runs, and which values are sums of micro-batches' terms.
  bool HasBarrier(std::vector<NodeTurn> turns, std::vector<ValueId> summed) {
    CapturedGraph captured = builder.Finish();
    PartitionedGraph partitioned;
    partitioned.turns = {std::move(turns)};
    partitioned.sources.emplace_back();
    for (uint32_t node = 0; node < captured.graph.nodes.size(); ++node) {
      partitioned.sources[0].push_back(node);
    }
    partitioned.summed.resize(captured.graph.values.size(), false);
    for (ValueId value : summed) partitioned.summed[value] = true;
    const auto graph = std::make_shared<const Graph>(std::move(captured.graph));
    partitioned.parts.push_back({graph, captured.sizes, {}, {}});
    return HasMicroBatchBarrier(*graph, partitioned);
  }
};

constexpr NodeTurn kOnce = NodeTurn::kOnce, kEach = NodeTurn::kMicroBatch;

TEST(MicroBatchBarrier, NoneWhereEachMicroBatchIsItsOwn) {
  EXPECT_FALSE(Chain().HasBarrier({kEach, kEach, kEach, kEach}, {}));
}

// As the gradient is, which the optimizer reads.
TEST(MicroBatchBarrier, NoneWhereSumsAreReadBehindAll) {
  Chain chain;
  EXPECT_FALSE(chain.HasBarrier({kEach, kEach, kOnce, kOnce}, {chain.s}));
}

// As batch statistics are.
TEST(MicroBatchBarrier, WhereASumIsReadInEachMicroBatch) {
  Chain chain;
  EXPECT_TRUE(chain.HasBarrier({kEach, kEach, kEach, kEach}, {chain.s}));
}

// As attention does where micro-batches are parts of the sequence.
TEST(MicroBatchBarrier, WhereANodeBetweenThemRunsOnce) {
  EXPECT_TRUE(Chain().HasBarrier({kEach, kOnce, kEach, kEach}, {}));
}

}  // namespace
}  // namespace moai
