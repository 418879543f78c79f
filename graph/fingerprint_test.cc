#include "graph/fingerprint.h"

#include <gtest/gtest.h>

#include <map>

#include "graph/serialize.h"
#include "graph/testing/mutate_graph.h"
#include "graph/testing/random_graph.h"

namespace moai {
namespace {

// Graphs with equal bytes have equal names, and no others: over structures that differ in one
// place.
TEST(FingerprintTest, DiffersExactlyWhereStructureDiffers) {
  std::mt19937_64 random(1);
  std::map<std::string, std::string> structure_of;
  for (int i = 0; i < 200; ++i) {
    const CapturedGraph captured = RandomGraph(random, {.nodes = 8});
    EXPECT_EQ(ComputeFingerprint(captured.graph), captured.fingerprint);
    for (int k = 0; k < 40; ++k) {
      Graph graph = captured.graph;
      MutateGraph(graph, random);
      const absl::StatusOr<Graph> parsed = ParseGraph(SerializeGraph(graph));
      // What can be sent and understood: definitions in order, counts that follow from them.
      if (!parsed.ok()) continue;
      graph.slot_count = captured.graph.slot_count;
      graph.value_count = captured.graph.value_count;
      graph.feed_count = captured.graph.feed_count;
      graph.scalar_count = captured.graph.scalar_count;
      if (graph.values.size() != captured.graph.values.size()) continue;
      if (graph.inputs.size() != captured.graph.inputs.size()) continue;
      const std::string bytes = SerializeGraph(graph);
      const auto [at, added] = structure_of.emplace(ToString(ComputeFingerprint(graph)), bytes);
      EXPECT_EQ(at->second, bytes);
    }
  }
  EXPECT_GT(structure_of.size(), 3000u);
}

TEST(FingerprintTest, LongNodesAreHashedToTheEnd) {
  GraphBuilder builder;
  std::vector<ValueId> parts;
  for (uint32_t i = 0; i < 1000; ++i) {
    parts.push_back(builder.AddInput(InputKind::kValue, i, {Dtype::kF32, Shape{1}}));
  }
  GraphBuilder other = builder;
  ASSERT_TRUE(builder.AddNode(Op::kConcat, parts, {0}).ok());
  std::swap(parts[998], parts[999]);
  ASSERT_TRUE(other.AddNode(Op::kConcat, parts, {0}).ok());
  EXPECT_NE(builder.Finish().fingerprint, other.Finish().fingerprint);
}

// The name is part of what peers agree on: it must not change between releases.
TEST(FingerprintTest, IsTheSameOnEveryMachine) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{2}});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kExp, {x}));
  const Fingerprint fingerprint = builder.Finish().fingerprint;
  EXPECT_EQ(ToString(fingerprint).size(), 32u);
  EXPECT_EQ(ToString(fingerprint), "dc042e9554949c631533d986b8761f7d");
}

}  // namespace
}  // namespace moai
