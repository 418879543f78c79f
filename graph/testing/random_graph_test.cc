#include "graph/testing/random_graph.h"

#include <gtest/gtest.h>

#include <set>

#include "graph/fingerprint.h"
#include "graph/infer.h"
#include "graph/testing/random_bindings.h"
#include "graph/verify.h"

namespace moai {
namespace {

TEST(RandomGraphTest, GraphsVerifyAndCoverEveryOpAndKind) {
  std::mt19937_64 random(1);
  std::set<Op> ops;
  std::set<InputKind> kinds;
  int replaced = 0, created = 0, joined = 0, nodes = 0;
  for (int i = 0; i < 200; ++i) {
    const CapturedGraph captured = RandomGraph(random);
    const Graph& graph = captured.graph;
    ASSERT_TRUE(VerifyStructure(graph).ok()) << VerifyStructure(graph);
    const absl::StatusOr<std::vector<TensorType>> types = InferGraph(graph, captured.sizes);
    ASSERT_TRUE(types.ok()) << types.status();
    EXPECT_EQ(*types, captured.types);
    EXPECT_EQ(ComputeFingerprint(graph), captured.fingerprint);
    std::set<ValueId> inputs;
    std::set<uint32_t> read;
    for (const Input& input : graph.inputs) {
      kinds.insert(input.kind);
      inputs.insert(input.value);
      if (input.kind == InputKind::kSlot) read.insert(input.index);
    }
    for (const Output& output : graph.outputs) {
      if (output.kind != OutputKind::kSlot) continue;
      ++(read.count(output.index) != 0 ? replaced : created);
    }
    for (const Node& node : graph.nodes) {
      ops.insert(node.op);
      ++nodes;
      for (ValueId input : node.inputs) {
        if (inputs.count(input) != 0) continue;
        ++joined;
        break;
      }
    }
    EXPECT_EQ(RandomBindings(captured, random).size(), graph.inputs.size());
  }
  EXPECT_EQ(ops.size(), ClientOps().size());
  EXPECT_EQ(kinds.size(), 4u);
  EXPECT_GT(replaced, 20);
  EXPECT_GT(created, 20);
  // Most nodes read what other nodes made.
  EXPECT_GT(joined * 2, nodes) << joined << " of " << nodes;
}

TEST(RandomGraphTest, KeepsToTheOpsAndDtypesAskedFor) {
  std::mt19937_64 random(2);
  const CapturedGraph captured =
      RandomGraph(random, {.nodes = 30, .ops = {Op::kAdd, Op::kMatmul}, .dtypes = {Dtype::kF32}});
  for (const Node& node : captured.graph.nodes) {
    EXPECT_TRUE(node.op == Op::kAdd || node.op == Op::kMatmul ||
                Entry(node.op).op_class == OpClass::kView);
  }
  for (const TensorType& type : captured.types) EXPECT_EQ(type.dtype, Dtype::kF32);
}

}  // namespace
}  // namespace moai
