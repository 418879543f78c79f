// What repeats in the training steps of models, and what is left when it is left out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "client/models/catalog.h"
#include "graph/cost.h"
#include "graph/infer.h"
#include "graph/verify.h"
#include "scheduler/planning/recompute.h"
#include "scheduler/planning/reduced_graph.h"

namespace moai {
namespace {

using ::testing::Eq;

struct Step {
  Graph graph;
  std::vector<int64_t> sizes;
  std::vector<TensorType> types;
};

Step Capture(const models::ModelConfig& config, RecomputeMode mode = RecomputeMode::kNone,
             int64_t batch = 4) {
  const CapturedStep step = *models::CaptureModel("model", config, batch);
  const std::vector<TensorType> types = *InferGraph(*step.graph, step.sizes);
  RewrittenGraph graph = *Recompute(*step.graph, step.sizes, types, mode);
  return {std::move(graph.graph), std::move(graph.sizes), std::move(graph.types)};
}

ReducedGraph Reduce(const Step& step) {
  ReducedGraph reduced = *ReduceGraph(step.graph, step.sizes, step.types);
  EXPECT_EQ(VerifyStructure(reduced.graph), absl::OkStatus());
  EXPECT_EQ(*InferGraph(reduced.graph, reduced.sizes), reduced.types);
  return reduced;
}

std::vector<double> FlopsOf(const Graph& graph, const std::vector<TensorType>& types) {
  std::vector<double> flops;
  for (const Node& node : graph.nodes) {
    std::vector<TensorType> inputs;
    for (ValueId input : node.inputs) inputs.push_back(types[input]);
    const auto outputs = absl::MakeConstSpan(types).subspan(node.first_output, node.output_count);
    flops.push_back(CostOf(node, inputs, outputs).flops);
  }
  return flops;
}

// Nodes by what they are, without what they are connected to.
using Kind = std::tuple<int, std::vector<int32_t>, std::vector<int64_t>, std::vector<int64_t>>;
std::map<Kind, int> Kinds(const Graph& graph, const std::vector<int64_t>& sizes,
                          const std::vector<TensorType>& types) {
  std::map<Kind, int> kinds;
  for (const Node& node : graph.nodes) {
    const auto extents = Extents(node, sizes);
    std::vector<int64_t> shapes;
    for (ValueId input : node.inputs) {
      shapes.push_back(int64_t(types[input].dtype));
      shapes.insert(shapes.end(), types[input].shape.begin(), types[input].shape.end());
    }
    ++kinds[{int(node.op),
             {node.attributes.begin(), node.attributes.end()},
             {extents.begin(), extents.end()},
             shapes}];
  }
  return kinds;
}

struct Case {
  std::string name;
  models::ModelConfig config;
  uint32_t rows;
};

std::vector<Case> Cases() {
  return {{"llama", models::LlamaConfig{.layers = 12}, 1},
          {"llama with dropout", models::LlamaConfig{.layers = 9, .dropout = 0.1}, 1},
          {"gpt", models::GptConfig{.layers = 10}, 1},
          {"mixture", models::MixtralConfig{.layers = 9}, 1},
          {"t5", models::T5Config{.layers = 8}, 2},
          {"vit", models::VitConfig{}, 1},
          {"resnet", models::ResnetConfig{.blocks = {3, 4, 6, 3}}, 0}};
}

TEST(ReducedModels, FindsTheRows) {
  for (const Case& c : Cases()) {
    for (RecomputeMode mode :
         {RecomputeMode::kNone, RecomputeMode::kSelective, RecomputeMode::kFull}) {
      SCOPED_TRACE(c.name + " " + std::string(Name(mode)));
      const Step step = Capture(c.config, mode);
      const RepeatedBlocks b = FindRepeatedBlocks(step.graph, step.sizes, step.types);
      const ReducedGraph reduced = Reduce(step);
      printf("%s %s: %zu -> %zu nodes, %u rows; blocks %d\n", c.name.c_str(),
             std::string(Name(mode)).c_str(), step.graph.nodes.size(), reduced.graph.nodes.size(),
             reduced.rows, b.count);
      EXPECT_THAT(reduced.rows, Eq(c.rows));
    }
  }
}

// Every node of the whole is stood for by a node that does as much.
TEST(ReducedModels, ArithmeticIsThatOfTheWhole) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const Step step = Capture(c.config);
    const ReducedGraph reduced = Reduce(step);
    const std::vector<double> whole = FlopsOf(step.graph, step.types);
    const std::vector<double> flops = FlopsOf(reduced.graph, reduced.types);
    std::vector<double> by_value(reduced.graph.values.size(), 0);
    for (size_t i = 0; i < flops.size(); ++i) {
      by_value[reduced.graph.nodes[i].first_output] = flops[i];
    }
    for (size_t i = 0; i < whole.size(); ++i) {
      const Node& node = step.graph.nodes[i];
      EXPECT_EQ(by_value[reduced.stands_for[node.first_output]], whole[i]);
      for (uint32_t k = 0; k < node.output_count; ++k) {
        EXPECT_EQ(reduced.types[reduced.stands_for[node.first_output + k]],
                  step.types[node.first_output + k]);
      }
    }
  }
}

// What is left of many layers is what a model of few layers captures.
TEST(ReducedModels, IsTheModelOfFewerLayers) {
  for (RecomputeMode mode :
       {RecomputeMode::kNone, RecomputeMode::kSelective, RecomputeMode::kFull}) {
    for (int64_t layers : {8, 13}) {
      const Step large = Capture(models::LlamaConfig{.layers = layers}, mode);
      const RepeatedBlocks blocks = FindRepeatedBlocks(large.graph, large.sizes, large.types);
      ASSERT_GE(blocks.count, layers - 2);
      const ReducedGraph reduced =
          *LeaveOutBlocks(large.graph, large.sizes, large.types, blocks, 3);
      const Step small = Capture(models::LlamaConfig{.layers = layers - blocks.count + 3}, mode);
      EXPECT_EQ(Kinds(reduced.graph, reduced.sizes, reduced.types),
                Kinds(small.graph, small.sizes, small.types));
      EXPECT_EQ(reduced.graph.inputs.size(), small.graph.inputs.size());
      EXPECT_EQ(reduced.graph.outputs.size(), small.graph.outputs.size());
    }
  }
}

}  // namespace
}  // namespace moai
