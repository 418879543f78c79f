#include "graph/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "graph/builder.h"
#include "graph/infer.h"
#include "graph/signature.h"
#include "graph/testing/random_node.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

TensorType F32(std::initializer_list<int64_t> extents) { return {Dtype::kF32, Shape(extents)}; }

// Every sort of binding, a replaced and a created slot.
CapturedGraph Sample() {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, F32({3, 8}));
  const ValueId w = builder.AddInput(InputKind::kSlot, 0, F32({8, 5}));
  const ValueId y = *builder.AddNode(Op::kMatmul, {x, w}, {0, 0});
  const ValueId other = builder.AddInput(InputKind::kValue, 0, F32({3, 5}));
  const ValueId sum = *builder.AddNode(Op::kAdd, {y, other});
  const ValueId rate = builder.AddScalar(Dtype::kF32);
  const ValueId scaled = *builder.AddNode(Op::kMul, {w, rate});
  builder.AddOutput(OutputKind::kValue, sum);
  builder.AddOutput(OutputKind::kSlot, scaled, 0);
  builder.AddOutput(OutputKind::kSlot, sum, 1);
  return builder.Finish();
}

struct Break {
  const char* expected;  // part of the message
  std::function<void(Graph&)> apply;
};

TEST(VerifyStructureTest, NamesWhatIsWrong) {
  ASSERT_TRUE(VerifyStructure(Sample().graph).ok()) << VerifyStructure(Sample().graph);
  const Break breaks[] = {
      {"values[2].dtype 15 is not a dtype", [](Graph& g) { g.values[2].dtype = Dtype{15}; }},
      {"values[2].rank must be at most 8", [](Graph& g) { g.values[2].rank = 9; }},
      {"nodes[0] (matmul): values[2] must be f32 of rank 2, got f32 of rank 3",
       [](Graph& g) { g.values[2].rank = 3; }},
      {"inputs[1].value 99", [](Graph& g) { g.inputs[1].value = 99; }},
      {"inputs[1].value 0 is not the next value",
       [](Graph& g) {
         g.inputs[1].value = 0;
         g.nodes.clear();
       }},
      {"inputs[0].kind 9", [](Graph& g) { g.inputs[0].kind = InputKind{9}; }},
      {"inputs[0] is a scalar, but its value has rank 2",
       [](Graph& g) { g.inputs[0].kind = InputKind::kScalar; }},
      {"inputs[0].index 5 is not below feed_count 1", [](Graph& g) { g.inputs[0].index = 5; }},
      {"value binding is named already",
       [](Graph& g) {
         g.inputs[0].kind = InputKind::kValue;
         g.inputs[0].index = 0;
         g.feed_count = 0;
       }},
      {"feed binding 1 of feed_count 2 is never named", [](Graph& g) { g.feed_count = 2; }},
      {"slot_count 4000000000 is more than", [](Graph& g) { g.slot_count = 4000000000; }},
      {"nodes[1].first_output must be the next value, 4",
       [](Graph& g) { g.nodes[1].first_output = 5; }},
      {"nodes[1].first_extent must be 6", [](Graph& g) { g.nodes[1].first_extent = 2; }},
      {"nodes[1].inputs[0] 4 is not defined before the node",
       [](Graph& g) { g.nodes[1].inputs[0] = 4; }},
      {"nodes[1]: add: takes 2 inputs, got 3", [](Graph& g) { g.nodes[1].inputs.push_back(0); }},
      {"nodes[1]: op 9999 is not in the op table", [](Graph& g) { g.nodes[1].op = Op{9999}; }},
      {"nodes[1].output_count 200 goes past", [](Graph& g) { g.nodes[1].output_count = 200; }},
      {"nodes[1]: add: has 1 outputs, got 2", [](Graph& g) { g.nodes[1].output_count = 2; }},
      {"nodes[0]: matmul: takes 2 attributes, got 1",
       [](Graph& g) { g.nodes[0].attributes.pop_back(); }},
      {"nodes[0]: matmul: attribute transpose_b must be 0 or 1, got 2",
       [](Graph& g) { g.nodes[0].attributes[1] = 2; }},
      {"nodes[0]: matmul: takes 0 numbers, got 1",
       [](Graph& g) { g.nodes[0].numbers.push_back(1); }},
      {"nodes[0]: matmul: takes 0 extents (), got 1",
       [](Graph& g) { g.nodes[0].extent_count = 1; }},
      {"values has 8 entries, but inputs and nodes define 7",
       [](Graph& g) { g.values.push_back({}); }},
      {"extent_count is 7", [](Graph& g) { g.extent_count = 7; }},
      {"outputs[0].value 77", [](Graph& g) { g.outputs[0].value = 77; }},
      {"outputs[0].kind 0", [](Graph& g) { g.outputs[0].kind = OutputKind{0}; }},
      {"outputs[0].index must be 0", [](Graph& g) { g.outputs[0].index = 1; }},
      {"outputs[2].index 0: this slot binding is named already",
       [](Graph& g) { g.outputs[2].index = 0; }},
      {"outputs[1] replaces a slot of f32 of rank 2 with f32 of rank 0",
       [](Graph& g) { g.outputs[1].value = 5; }},
      {"nodes has 131073 entries; kMaxNodes is 131072",
       [](Graph& g) { g.nodes.resize(kMaxNodes + 1); }},
  };
  for (const Break& broken : breaks) {
    Graph graph = Sample().graph;
    broken.apply(graph);
    const absl::Status status = VerifyStructure(graph);
    ASSERT_FALSE(status.ok()) << broken.expected;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(broken.expected));
  }
}

// What the verifier says of kinds is what inference says of types.
TEST(VerifyStructureTest, AgreesWithInferenceOnEveryOp) {
  std::mt19937_64 random(5);
  for (const OpEntry& entry : ClientOps()) {
    for (Dtype dtype : DtypesOf(entry.op)) {
      const CapturedGraph captured = *RandomNodeGraph(entry.op, dtype, random);
      EXPECT_TRUE(VerifyStructure(captured.graph).ok()) << VerifyStructure(captured.graph);
    }
  }
}

TEST(VerifyStructureTest, CollectivesAreThePartitionersOnly) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, F32({3}));
  const absl::StatusOr<ValueId> sum =
      builder.AddNode(Op::kAllReduce, {x}, {0, static_cast<int32_t>(ReduceKind::kSum)}, {});
  ASSERT_TRUE(sum.ok()) << sum.status();
  builder.AddOutput(OutputKind::kValue, *sum);
  Graph graph = builder.Finish().graph;
  EXPECT_THAT(std::string(VerifyStructure(graph).message()),
              HasSubstr("nodes[0]: all_reduce is made by the partitioner and may not come from a "
                        "client"));
  EXPECT_TRUE(VerifyStructure(graph, {.allow_collectives = true}).ok());
  graph.nodes[0].attributes[0] = -1;
  EXPECT_THAT(std::string(VerifyStructure(graph, {.allow_collectives = true}).message()),
              HasSubstr("nodes[0]: all_reduce: attribute group must be 0 or more"));
}

TEST(InferGraphTest, SlotKeepsItsShape) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kSlot, 0, F32({3}));
  const ValueId y = builder.AddInput(InputKind::kValue, 0, F32({4}));
  builder.AddOutput(OutputKind::kSlot, y, 0);
  builder.AddOutput(OutputKind::kValue, x);
  CapturedGraph captured = builder.Finish();
  ASSERT_TRUE(VerifyStructure(captured.graph).ok());
  EXPECT_THAT(std::string(InferGraph(captured.graph, captured.sizes).status().message()),
              HasSubstr("output 0 replaces slot binding 0 of type f32[3] with f32[4]"));
  EXPECT_TRUE(InferGraph(captured.graph, {4, 4}).ok());
}

}  // namespace
}  // namespace moai
