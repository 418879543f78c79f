#include "scheduler/planning/reduced_graph.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "graph/builder.h"
#include "graph/infer.h"
#include "graph/verify.h"

namespace moai {
namespace {

constexpr int64_t kRows = 8, kWidth = 16;

TensorType Matrix(int64_t rows, int64_t columns) { return {Dtype::kF32, Shape{rows, columns}}; }

ValueId Matmul(GraphBuilder& builder, ValueId a, ValueId b, bool transpose_a = false,
               bool transpose_b = false) {
  return *builder.AddNode(Op::kMatmul, {a, b}, {transpose_a, transpose_b});
}

// Layers of x <- x + tanh(x w), the sum of the last as loss, gradients by hand, w <- w - gradient.
CapturedGraph Chain(int layers) {
  GraphBuilder builder;
  ValueId x = builder.AddInput(InputKind::kFeed, 0, Matrix(kRows, kWidth));
  std::vector<ValueId> inputs, weights, products;
  for (int layer = 0; layer < layers; ++layer) {
    inputs.push_back(x);
    weights.push_back(builder.AddInput(InputKind::kSlot, layer, Matrix(kWidth, kWidth)));
    products.push_back(*builder.AddNode(Op::kTanh, {Matmul(builder, x, weights.back())}));
    x = *builder.AddNode(Op::kAdd, {x, products.back()});
  }
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceSum, {x}, {0, 1}));
  ValueId gradient = x;
  std::vector<ValueId> gradients(layers);
  for (int layer = layers; layer-- > 0;) {
    const ValueId inner = *builder.AddNode(Op::kMul, {gradient, products[layer]});
    gradients[layer] = Matmul(builder, inputs[layer], inner, true, false);
    gradient =
        *builder.AddNode(Op::kAdd, {gradient, Matmul(builder, inner, weights[layer], false, true)});
  }
  for (int layer = 0; layer < layers; ++layer) {
    const ValueId updated = *builder.AddNode(Op::kSub, {weights[layer], gradients[layer]});
    builder.AddOutput(OutputKind::kSlot, updated, layer);
  }
  return builder.Finish();
}

TEST(ReducedGraph, OfAChainIsAShorterChain) {
  for (int layers : {7, 8, 20}) {
    SCOPED_TRACE(layers);
    const CapturedGraph chain = Chain(layers);
    const RepeatedBlocks blocks = FindRepeatedBlocks(chain.graph, chain.sizes, chain.types);
    ASSERT_GE(blocks.count, layers - 2);
    const ReducedGraph reduced = *LeaveOutBlocks(chain.graph, chain.sizes, chain.types, blocks);
    EXPECT_TRUE(VerifyStructure(reduced.graph).ok());
    EXPECT_EQ(*InferGraph(reduced.graph, reduced.sizes), reduced.types);
    // The very same graph, not only one of the same nodes.
    const CapturedGraph shorter = Chain(layers - blocks.count + 3);
    EXPECT_EQ(ComputeFingerprint(reduced.graph), ComputeFingerprint(shorter.graph));
    EXPECT_EQ(reduced.sizes, shorter.sizes);
  }
}

TEST(ReducedGraph, CountsEveryNodeOfTheWhole) {
  const CapturedGraph chain = Chain(12);
  const ReducedGraph reduced = *ReduceGraph(chain.graph, chain.sizes, chain.types);
  ASSERT_EQ(reduced.rows, 1u);
  std::vector<int> stands(reduced.graph.values.size(), 0);
  for (ValueId value : reduced.stands_for) ++stands[value];
  int inside = 0;
  for (ValueId value = 0; value < stands.size(); ++value) {
    const ReducedGraph::Place& place = reduced.places[value];
    if (place.position == ReducedGraph::Position::kInside) {
      EXPECT_EQ(place.inside, value);
      if (inside == 0) inside = stands[value];
      EXPECT_EQ(stands[value], inside);
    } else {
      EXPECT_EQ(stands[value], 1);
    }
  }
  EXPECT_GT(inside, 6);
}

TEST(ReducedGraph, KeepsAsManyBlocksAsItIsTold) {
  const CapturedGraph chain = Chain(12);
  const RepeatedBlocks blocks = FindRepeatedBlocks(chain.graph, chain.sizes, chain.types);
  for (int32_t keep = 3; keep <= blocks.count; ++keep) {
    const ReducedGraph reduced =
        *LeaveOutBlocks(chain.graph, chain.sizes, chain.types, blocks, keep);
    EXPECT_EQ(ComputeFingerprint(reduced.graph),
              ComputeFingerprint(Chain(12 - blocks.count + keep).graph));
  }
  EXPECT_FALSE(LeaveOutBlocks(chain.graph, chain.sizes, chain.types, blocks, 2).ok());
  EXPECT_FALSE(
      LeaveOutBlocks(chain.graph, chain.sizes, chain.types, blocks, blocks.count + 1).ok());
}

// A value that many blocks make for one reader is no part of a row that may be cut.
TEST(ReducedGraph, LeavesAGraphWhoseBlocksAreAllReadTogether) {
  GraphBuilder builder;
  ValueId x = builder.AddInput(InputKind::kFeed, 0, Matrix(kWidth, kWidth));
  std::vector<ValueId> all;
  for (int layer = 0; layer < 8; ++layer) {
    x = *builder.AddNode(Op::kTanh, {Matmul(builder, x, x)});
    all.push_back(x);
  }
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kConcat, all, {0}));
  const CapturedGraph captured = builder.Finish();
  const ReducedGraph reduced = *ReduceGraph(captured.graph, captured.sizes, captured.types);
  EXPECT_EQ(reduced.rows, 0u);
  EXPECT_EQ(reduced.graph.nodes.size(), captured.graph.nodes.size());
}

// Whatever the graph: what comes back is a valid graph, in which everything has something that
// stands for it.
TEST(ReducedGraph, OfRandomGraphsIsValid) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    GraphBuilder builder;
    std::vector<ValueId> values = {builder.AddInput(InputKind::kFeed, 0, Matrix(kWidth, kWidth)),
                                   builder.AddInput(InputKind::kSlot, 0, Matrix(kWidth, kWidth))};
    // Few sorts of nodes, and operands near by: sequences repeat by chance.
    for (int i = 0; i < 40; ++i) {
      const auto pick = [&] {
        return values[values.size() - 1 - random() % std::min<size_t>(4, values.size())];
      };
      switch (random() % 3) {
        case 0:
          values.push_back(Matmul(builder, pick(), pick()));
          break;
        case 1:
          values.push_back(*builder.AddNode(Op::kAdd, {pick(), pick()}));
          break;
        default:
          values.push_back(*builder.AddNode(Op::kTanh, {pick()}));
      }
    }
    builder.AddOutput(OutputKind::kValue, values.back());
    const CapturedGraph captured = builder.Finish();
    const ReducedGraph reduced = *ReduceGraph(captured.graph, captured.sizes, captured.types);
    EXPECT_TRUE(VerifyStructure(reduced.graph).ok());
    for (ValueId value = 0; value < captured.types.size(); ++value) {
      ASSERT_LT(reduced.stands_for[value], reduced.types.size());
      EXPECT_EQ(reduced.types[reduced.stands_for[value]], captured.types[value]);
    }
  }
}

}  // namespace
}  // namespace moai
