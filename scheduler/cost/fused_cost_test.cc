#include "scheduler/cost/fused_cost.h"

#include <gtest/gtest.h>

#include <random>

#include "graph/builder.h"
#include "graph/testing/random_graph.h"
#include "scheduler/cost/gpu_types.h"

namespace moai {
namespace {

const DeviceModel& H100() { return (*FindGpuType("H100"))->device; }

constexpr int64_t kN = 1 << 20;

class FusedCostTest : public testing::Test {
 protected:
  ValueId Input(const Shape& shape, Dtype dtype = Dtype::kF32) {
    return builder_.AddInput(InputKind::kValue, inputs_++, {dtype, shape});
  }
  ValueId Add(Op op, std::vector<ValueId> inputs, std::vector<int32_t> attributes = {},
              std::vector<int64_t> extents = {}) {
    return builder_.AddNode(op, inputs, attributes, extents).value();
  }
  void Finish(std::vector<ValueId> outputs) {
    for (ValueId value : outputs) builder_.AddOutput(OutputKind::kValue, value);
    captured_ = builder_.Finish();
    groups_ = GroupFusedNodes(captured_.graph, captured_.types);
  }
  KernelCost Cost(uint32_t group = 0) {
    return CostOfGroup(H100(), captured_.graph, captured_.types, groups_, group);
  }

  GraphBuilder builder_;
  uint32_t inputs_ = 0;
  CapturedGraph captured_;
  KernelGroups groups_;
};

TEST_F(FusedCostTest, AChainReadsItsInputsAndWritesItsResult) {
  const ValueId x = Input({kN});
  const ValueId y = Input({kN});
  const ValueId sum = Add(Op::kAdd, {x, y});
  const ValueId wide = Add(Op::kGelu, {sum});
  Finish({Add(Op::kCast, {wide}, {static_cast<int32_t>(Dtype::kBF16)})});
  ASSERT_EQ(groups_.groups.size(), 1u);
  EXPECT_EQ(Cost().bytes, kN * (4 + 4 + 2));
  EXPECT_EQ(Cost().flops, 2.0 * kN);
  EXPECT_NEAR(Cost().seconds, kN * 10 / H100().streaming_bandwidth() + H100().kernel_seconds,
              1e-12);
}

TEST_F(FusedCostTest, AValueThatTwoKernelsReadIsStored) {
  const ValueId a = Input({1024, 1024});
  const ValueId x = Add(Op::kGelu, {Add(Op::kNeg, {a})});
  const ValueId product = Add(Op::kMatmul, {x, a}, {0, 0});
  Finish({product, Add(Op::kAbs, {x})});
  // {neg, gelu}, {matmul}, {abs}
  ASSERT_EQ(groups_.groups.size(), 3u);
  EXPECT_EQ(groups_.group_of[0], groups_.group_of[1]);
  EXPECT_EQ(Cost(groups_.group_of[1]).bytes, 2.0 * 4 * 1024 * 1024);
}

TEST_F(FusedCostTest, DiamondsFuse) {
  const ValueId x = Add(Op::kNeg, {Input({kN})});
  Finish({Add(Op::kAdd, {Add(Op::kExp, {x}), Add(Op::kSin, {x})})});
  ASSERT_EQ(groups_.groups.size(), 1u);
  EXPECT_EQ(Cost().bytes, 2.0 * 4 * kN);
}

TEST_F(FusedCostTest, WhatTheGraphGivesOutIsWritten) {
  const ValueId x = Add(Op::kNeg, {Input({kN})});
  Finish({x, Add(Op::kExp, {x})});
  ASSERT_EQ(groups_.groups.size(), 1u);
  EXPECT_EQ(Cost().bytes, 3.0 * 4 * kN);
}

TEST_F(FusedCostTest, AReductionEndsItsKernel) {
  const ValueId x = Add(Op::kExp, {Input({1024, 1024})});
  const ValueId sum = Add(Op::kReduceSum, {x}, {1});
  Finish({Add(Op::kLog, {sum})});
  ASSERT_EQ(groups_.groups.size(), 2u);
  EXPECT_EQ(Cost(0).bytes, 4.0 * (1024 * 1024 + 1024));
  EXPECT_EQ(Cost(1).bytes, 2.0 * 4 * 1024);
}

TEST_F(FusedCostTest, ViewsReadWhatTheyShow) {
  const ValueId bias = Input({1024});
  const ValueId x = Input({1024, 1024});
  const ValueId wide = Add(Op::kBroadcast, {bias}, {2, 1}, {1024, 1024});
  Finish({Add(Op::kAdd, {x, wide})});
  ASSERT_EQ(groups_.groups.size(), 1u);
  EXPECT_EQ(Cost().bytes, 4.0 * (2 * 1024 * 1024 + 1024));
}

TEST_F(FusedCostTest, ALoneViewIsFree) {
  Finish({Add(Op::kReshape, {Input({8, 8})}, {1}, {64})});
  EXPECT_EQ(Cost().seconds, 0);
}

// Over random graphs: every node is in one kernel; kernels can run one after the other in the order
// of their last nodes; fusion never costs more bytes than single kernels.
TEST(FusedCostPropertyTest, GroupsAreAPartitionThatCanRun) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 300; ++round) {
    const CapturedGraph captured = RandomGraph(random, {.nodes = 40});
    const Graph& graph = captured.graph;
    const KernelGroups groups = GroupFusedNodes(graph, captured.types);
    size_t nodes = 0;
    double fused = 0;
    double single = 0;
    for (uint32_t g = 0; g < groups.groups.size(); ++g) {
      ASSERT_FALSE(groups.groups[g].empty());
      nodes += groups.groups[g].size();
      fused += CostOfGroup(H100(), graph, captured.types, groups, g).bytes;
      for (uint32_t id : groups.groups[g]) {
        EXPECT_EQ(groups.group_of[id], g);
        const Node& node = graph.nodes[id];
        std::vector<TensorType> inputs;
        for (ValueId input : node.inputs) {
          inputs.push_back(captured.types[input]);
          const uint32_t producer = groups.producer[input];
          if (producer == KernelGroups::kNoNode) continue;
          EXPECT_LE(groups.group_of[producer], g);
        }
        single +=
            CostOfNode(
                H100(), node, inputs,
                absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count))
                .bytes;
      }
    }
    EXPECT_EQ(nodes, graph.nodes.size());
    // A reader of a view reads the view's input instead of its output, which may be larger.
    EXPECT_LE(fused, single * 1.5 + 4096);
    EXPECT_GE(CostOfGraph(H100(), graph, captured.types, groups).seconds, 0);
  }
}

}  // namespace
}  // namespace moai
