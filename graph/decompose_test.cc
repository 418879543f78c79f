#include "graph/decompose.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "graph/infer.h"
#include "graph/testing/random_node.h"

namespace moai {
namespace {

// What stands for a node is made of primitives and has the types that inference gives the node.
TEST(DecomposeTest, GivesTheTypesOfTheNode) {
  std::mt19937_64 random(1);
  int decomposed = 0;
  for (const OpEntry& entry : ClientOps()) {
    if (!HasDecomposition(entry.op)) continue;
    ++decomposed;
    for (Dtype dtype : DtypesOf(entry.op)) {
      for (int draw = 0; draw < 25; ++draw) {
        SCOPED_TRACE(absl::StrCat(entry.name, " ", Name(dtype), " draw ", draw));
        const absl::StatusOr<CapturedGraph> whole = RandomNodeGraph(entry.op, dtype, random);
        ASSERT_TRUE(whole.ok()) << whole.status();
        const Node& node = whole->graph.nodes[0];
        GraphBuilder builder;
        std::vector<ValueId> inputs;
        for (size_t i = 0; i < node.inputs.size(); ++i) {
          inputs.push_back(builder.AddInput(InputKind::kValue, static_cast<uint32_t>(i),
                                            whole->types[node.inputs[i]]));
        }
        const auto parts = Decompose(node, inputs, Extents(node, whole->sizes), builder);
        ASSERT_TRUE(parts.ok()) << parts.status();
        ASSERT_EQ(parts->outputs.size(), node.output_count);
        for (size_t i = 0; i < parts->outputs.size(); ++i) {
          EXPECT_EQ(builder.type(parts->outputs[i]), whole->types[node.first_output + i]);
        }
        EXPECT_EQ(parts->constants.size(), builder.graph().scalar_count);
        for (const Node& part : builder.graph().nodes) {
          EXPECT_FALSE(HasDecomposition(part.op)) << Name(part.op);
        }
      }
    }
  }
  EXPECT_GE(decomposed, 30);
}

TEST(DecomposeTest, PrimitivesHaveNone) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, {Dtype::kF32, {2}});
  Node node;
  node.op = Op::kNeg;
  node.inputs = {x};
  EXPECT_FALSE(HasDecomposition(Op::kNeg));
  EXPECT_EQ(Decompose(node, {x}, {}, builder).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace moai
