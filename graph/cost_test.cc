#include "graph/cost.h"

#include <gtest/gtest.h>

#include "graph/testing/random_node.h"

namespace moai {
namespace {

NodeCost CostOfNode(const CapturedGraph& captured) {
  const Node& node = captured.graph.nodes[0];
  std::vector<TensorType> inputs;
  for (ValueId input : node.inputs) inputs.push_back(captured.types[input]);
  return CostOf(node, inputs,
                absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count));
}

NodeCost CostOfNode(Op op, const std::vector<Shape>& shapes, std::vector<int32_t> attributes = {},
                    std::vector<int64_t> extents = {}, std::vector<double> numbers = {}) {
  GraphBuilder builder;
  std::vector<ValueId> inputs;
  for (const Shape& shape : shapes) {
    inputs.push_back(builder.AddInput(InputKind::kValue, static_cast<uint32_t>(inputs.size()),
                                      {Dtype::kF32, shape}));
  }
  EXPECT_TRUE(builder.AddNode(op, inputs, attributes, extents, numbers).ok());
  return CostOfNode(builder.Finish());
}

TEST(CostTest, CountsContractions) {
  const NodeCost matmul = CostOfNode(Op::kMatmul, {{7, 3, 2}, {7, 3, 5}}, {1, 0});
  EXPECT_EQ(matmul.flops, 2.0 * 7 * 2 * 5 * 3);
  EXPECT_EQ(matmul.bytes_read, 4.0 * (7 * 3 * 2 + 7 * 3 * 5));
  EXPECT_EQ(matmul.bytes_written, 4.0 * 7 * 2 * 5);

  const std::vector<int64_t> conv = {1, 1, 1, 1, 1, 1, 1, 1, 2};
  EXPECT_EQ(CostOfNode(Op::kConv2d, {{3, 4, 5, 5}, {6, 2, 3, 3}}, {}, conv).flops,
            2.0 * (3 * 6 * 5 * 5) * (2 * 3 * 3));
  std::vector<int64_t> grad = conv;
  grad.insert(grad.end(), {5, 5});
  EXPECT_EQ(CostOfNode(Op::kConv2dGradInput, {{3, 6, 5, 5}, {6, 2, 3, 3}}, {}, grad).flops,
            2.0 * (3 * 6 * 5 * 5) * (2 * 3 * 3));
}

// Against a plain count of the pairs that the mask lets through.
TEST(CostTest, CountsVisiblePairsOfAttention) {
  for (int64_t s = 0; s < 6; ++s) {
    for (int64_t t = 0; t < 6; ++t) {
      int64_t pairs = 0;
      for (int64_t i = 0; i < s; ++i) {
        for (int64_t j = 0; j < t; ++j) pairs += j <= i + t - s ? 1 : 0;
      }
      const NodeCost cost =
          CostOfNode(Op::kAttention, {{2, s, 4, 8}, {2, t, 2, 8}, {2, t, 2, 6}}, {1}, {}, {1.0});
      EXPECT_EQ(cost.flops, 2.0 * 2 * 4 * pairs * (8 + 6)) << s << " " << t;
    }
  }
}

TEST(CostTest, LookupsReadTheRowsTheyName) {
  GraphBuilder builder;
  const ValueId table = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, Shape{1000, 4}});
  const ValueId ids = builder.AddInput(InputKind::kFeed, 0, {Dtype::kI32, Shape{3}});
  ASSERT_TRUE(builder.AddNode(Op::kEmbedding, {table, ids}).ok());
  const NodeCost cost = CostOfNode(builder.Finish());
  EXPECT_EQ(cost.bytes_read, 3 * 4 * 4 + 3 * 4);
  EXPECT_EQ(cost.bytes_written, 3 * 4 * 4);
}

TEST(CostTest, EveryOpHasACost) {
  std::mt19937_64 random(1);
  for (const OpEntry& entry : ClientOps()) {
    const NodeCost cost = CostOfNode(
        *RandomNodeGraph(entry.op, DtypesOf(entry.op)[0], random, {.allow_empty = false}));
    if (entry.op_class == OpClass::kView) {
      EXPECT_EQ(cost.bytes_read + cost.bytes_written, 0) << entry.name;
    } else {
      EXPECT_GT(cost.bytes_written, 0) << entry.name;
    }
    EXPECT_GE(cost.flops, 0) << entry.name;
    EXPECT_GE(cost.bytes_read, 0) << entry.name;
  }
}

}  // namespace
}  // namespace moai
