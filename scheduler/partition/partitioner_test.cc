// Random graphs under random decisions: what the devices compute together is what one computes.
#include "scheduler/partition/partitioner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <deque>
#include <map>
#include <random>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "graph/interpreter.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/random_graph.h"
#include "graph/testing/random_node.h"
#include "scheduler/partition/testing/run_on_devices.h"

namespace moai {
namespace {

constexpr double kTolerance = 1e-7;

// How often a kind of strategy was taken: by op along the mesh, by op along time.
std::map<std::string, std::map<StrategyKind, int>>& Coverage() {
  static auto* coverage = new std::map<std::string, std::map<StrategyKind, int>>;
  return *coverage;
}

// Every decision of a partition, drawn at random.
class RandomDecisions {
 public:
  RandomDecisions(const CapturedGraph& captured, std::mt19937_64& random)
      : captured_(captured), graph_(captured.graph), random_(random) {
    for (const Node& node : graph_.nodes) {
      std::vector<TensorType> inputs;
      for (ValueId input : node.inputs) inputs.push_back(captured.types[input]);
      signatures_.push_back(*InstantiateSignature(
          node, inputs,
          absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count)));
    }
    factors_ = Factors::Analyze(graph_, captured.types, signatures_);
  }

  PartitionRequest Draw() {
    PartitionRequest request;
    request.graph = &graph_;
    request.sizes = captured_.sizes;
    request.types = captured_.types;
    const int64_t axes = RandomInt(random_, 1, 3);
    for (int64_t i = 0; i < axes; ++i) {
      request.mesh.axes.push_back({absl::StrCat("axis", i), RandomInt(random_, 1, 3)});
    }
    request.micro_batches = OneIn(random_, 2) ? 1 : RandomInt(random_, 2, 3);
    for (int64_t i = 0; i < request.mesh.DeviceCount(); ++i) request.devices.push_back(i);
    for (const Input& input : graph_.inputs) {
      request.inputs.push_back(RandomPlacement(input.value, axes, input.kind));
    }
    for (const Output& output : graph_.outputs) {
      request.outputs.push_back(OutputPlacement(output, request, axes));
    }
    for (int64_t axis = 0; axis < axes; ++axis) request.strategies.push_back(Strategies());
    if (request.micro_batches > 1) request.strategies.push_back(Strategies());
    request.scatter_terms = OneIn(random_, 2);
    request.gather_again = OneIn(random_, 2);
    request.turn = uint32_t(random_() % graph_.nodes.size());
    return request;
  }

 private:
  Placement RandomPlacement(ValueId value, int64_t axes, InputKind kind) {
    Placement placement(size_t(axes), AxisPlacement{});
    if (kind == InputKind::kFeed || kind == InputKind::kScalar) return placement;
    std::vector<AxisPlacement> choices(1);
    for (int dim = 0; dim < captured_.types[value].shape.rank(); ++dim) {
      for (const FactorPlace& place : factors_.Of(value, dim)) {
        choices.push_back(ShardAt(dim, place));
      }
    }
    for (AxisPlacement& axis : placement) axis = choices[random_() % choices.size()];
    return placement;
  }

  Placement OutputPlacement(const Output& output, const PartitionRequest& request, int64_t axes) {
    if (output.kind == OutputKind::kSlot) {
      for (size_t i = 0; i < graph_.inputs.size(); ++i) {
        const Input& input = graph_.inputs[i];
        if (input.kind == InputKind::kSlot && input.index == output.index) {
          return request.inputs[i];
        }
      }
    }
    return RandomPlacement(output.value, axes, InputKind::kValue);
  }

  std::vector<const NodeStrategy*> Strategies() {
    std::vector<const NodeStrategy*> chosen;
    std::vector<AxisPlacement> made(graph_.values.size());
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      std::vector<NodeStrategy> all;
      ListStrategies(graph_, i, captured_.types, signatures_[i], factors_, all);
      std::erase_if(all, [&](const NodeStrategy& strategy) {
        for (size_t k = 0; k < node.inputs.size(); ++k) {
          const AxisPlacement& want = strategy.inputs[k];
          if (want.kind == PlacementKind::kPartial && !(made[node.inputs[k]] == want)) return true;
        }
        return false;
      });
      // Rarely all alike: most nodes are split.
      if (all.size() > 1 && !OneIn(random_, 4)) all.erase(all.begin());
      kept_.push_back(all[random_() % all.size()]);
      chosen.push_back(&kept_.back());
      ++Coverage()[std::string(Name(node.op))][chosen.back()->kind];
      for (size_t k = 0; k < node.output_count; ++k) {
        made[node.first_output + k] = chosen.back()->outputs[k];
      }
    }
    return chosen;
  }

  const CapturedGraph& captured_;
  const Graph& graph_;
  std::mt19937_64& random_;
  std::vector<IndexSignature> signatures_;
  Factors factors_;
  std::deque<NodeStrategy> kept_;
};

std::string Describe(const PartitionRequest& request) {
  std::string text = ToString(Replicated(request.mesh));
  absl::StrAppend(&text, ", micro-batches ", request.micro_batches, "\n");
  for (uint32_t i = 0; i < request.graph->nodes.size(); ++i) {
    const Node& node = request.graph->nodes[i];
    absl::StrAppend(&text, "node ", i, " ", Name(node.op), " (");
    for (ValueId input : node.inputs) {
      absl::StrAppend(&text, " v", input, ":", ToString(request.types[input]));
    }
    absl::StrAppend(&text, ") -> v", node.first_output, ":",
                    ToString(request.types[node.first_output]));
    for (const auto& axis : request.strategies) {
      absl::StrAppend(&text, " | ");
      for (const AxisPlacement& input : axis[i]->inputs)
        absl::StrAppend(&text, ToString(input), " ");
      absl::StrAppend(&text, "-> ");
      for (const AxisPlacement& out : axis[i]->outputs) absl::StrAppend(&text, ToString(out), " ");
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

void ExpectEqual(const std::vector<ReferenceTensor>& got,
                 const std::vector<ReferenceTensor>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i].type, expected[i].type);
    EXPECT_EQ(got[i].integers, expected[i].integers) << "output " << i;
    for (size_t k = 0; k < expected[i].floats.size(); ++k) {
      const double a = got[i].floats[k], b = expected[i].floats[k];
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      ASSERT_NEAR(a, b, kTolerance * (1 + std::abs(b))) << "output " << i << " element " << k;
    }
  }
}

int Graphs() {
  int graphs = 1500;
  if (const char* wanted = std::getenv("MOAI_PARTITION_GRAPHS")) {
    EXPECT_TRUE(absl::SimpleAtoi(wanted, &graphs));
  }
  return graphs;
}

TEST(PartitionerTest, AnyDecisionsGiveWhatOneDeviceGives) {
  const int graphs = Graphs();
  for (int seed = 0; seed < graphs; ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const CapturedGraph captured =
        RandomGraph(random, {.nodes = int(RandomInt(random, 1, 12)), .max_extent = 6});
    std::vector<ReferenceTensor> bindings;
    const auto bytes = RandomBindings(captured, random);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bindings.push_back(
          ReferenceTensor::FromBytes(captured.types[captured.graph.inputs[i].value], bytes[i]));
    }
    const auto expected = Interpret(captured.graph, captured.sizes, bindings);
    ASSERT_TRUE(expected.ok()) << expected.status();
    RandomDecisions decisions(captured, random);
    const PartitionRequest request = decisions.Draw();
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(request)));
    const absl::StatusOr<DevicesResult> got = RunOnDevices(request, bindings, kTolerance);
    ASSERT_TRUE(got.ok()) << got.status();
    ExpectEqual(got->outputs, *expected);
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  // Every op is there, and split in every way that a draw allowed at all.
  for (const OpEntry& entry : ClientOps()) {
    EXPECT_GT(Coverage()[std::string(entry.name)].size(), 0u) << entry.name;
  }
}

}  // namespace
}  // namespace moai
