#include "graph/builder.h"

#include <gtest/gtest.h>

namespace moai {
namespace {

TensorType F32(std::initializer_list<int64_t> extents) { return {Dtype::kF32, Shape(extents)}; }

CapturedGraph TwoLayers(double eps, int64_t rows) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, F32({rows, 8}));
  const ValueId w = builder.AddInput(InputKind::kSlot, 0, F32({8, 5}));
  const ValueId y = *builder.AddNode(Op::kMatmul, {x, w}, {0, 0});
  const ValueId scale = builder.AddInput(InputKind::kSlot, 1, F32({5}));
  const ValueId z = *builder.AddNode(Op::kRmsNorm, {y, scale}, {}, {}, {eps});
  builder.AddOutput(OutputKind::kSlot, w, 0);
  const ValueId s = *builder.AddNode(Op::kReduceSum, {z}, {0, 1});
  builder.AddOutput(OutputKind::kValue, s);
  return builder.Finish();
}

TEST(GraphBuilderTest, InfersTypesAndJoinsSizes) {
  const CapturedGraph captured = TwoLayers(1e-5, 3);
  const Graph& graph = captured.graph;
  ASSERT_EQ(graph.nodes.size(), 3u);
  EXPECT_EQ(graph.slot_count, 2u);
  EXPECT_EQ(graph.feed_count, 1u);
  EXPECT_EQ(captured.sizes, (Sizes{3, 8, 8, 5, 5}));
  EXPECT_EQ(graph.extent_count, 5u);
  EXPECT_EQ(captured.types[graph.nodes[1].first_output], F32({3, 5}));
  EXPECT_EQ(captured.types[graph.nodes[1].first_output + 1], F32({3}));
  EXPECT_EQ(captured.types.back(), F32({}));
}

TEST(GraphBuilderTest, NodeExtentsFollowThoseOfAllInputs) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, F32({4, 6}));
  const ValueId y = *builder.AddNode(Op::kReshape, {x}, {1}, {24});
  const ValueId z = builder.AddInput(InputKind::kValue, 1, F32({24}));
  const ValueId sum = *builder.AddNode(Op::kAdd, {y, z});
  const ValueId part = *builder.AddNode(Op::kSlice, {sum}, {}, {2, 24, 5});
  EXPECT_EQ(builder.type(part), F32({5}));
  const CapturedGraph captured = builder.Finish();
  EXPECT_EQ(captured.sizes, (Sizes{4, 6, 24, 24, 2, 24, 5}));
  EXPECT_EQ(Extents(captured.graph.nodes[2], captured.sizes)[1], 24);
  EXPECT_EQ(builder.node_count(), 0u);
}

TEST(GraphBuilderTest, RecordsNothingOnError) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, F32({4, 6}));
  const ValueId y = builder.AddInput(InputKind::kValue, 1, F32({6, 4}));
  const Fingerprint before = GraphBuilder(builder).Finish().fingerprint;
  const absl::StatusOr<ValueId> sum = builder.AddNode(Op::kAdd, {x, y});
  ASSERT_FALSE(sum.ok());
  EXPECT_EQ(sum.status().message(),
            "add: input 1 must have shape [4, 6] (that of the inputs before it, or rank 0), got "
            "[6, 4]");
  EXPECT_FALSE(builder.AddNode(Op::kAdd, {x, 99}).ok());
  EXPECT_FALSE(builder.AddNode(Op::kInvalid, {x}).ok());
  EXPECT_EQ(builder.node_count(), 0u);
  EXPECT_EQ(builder.Finish().fingerprint, before);
}

TEST(GraphBuilderTest, FingerprintNamesStructureOnly) {
  const Fingerprint name = TwoLayers(1e-5, 3).fingerprint;
  EXPECT_EQ(TwoLayers(1e-5, 9).fingerprint, name);
  EXPECT_NE(TwoLayers(1e-6, 3).fingerprint, name);
  EXPECT_EQ(ComputeFingerprint(TwoLayers(1e-5, 3).graph), name);
}

}  // namespace
}  // namespace moai
