// What plans of whole training steps send, counted in their partitioned graphs: nothing twice, and
// gradients as soon as they are there.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "client/models/catalog.h"
#include "graph/infer.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/search.h"
#include "scheduler/planning/stated_plan.h"

namespace moai {
namespace {

// Extents that are told apart: batch 8, sequence 6, hidden 16, ffn 64, vocabulary 40.
constexpr int64_t kBatch = 8;
models::GptConfig SmallGpt() {
  return {.vocabulary = 40, .hidden = 16, .layers = 3, .heads = 4, .sequence = 6};
}

// In mixed precision, clipped: each gradient is read by the norm in f32 and by AdamW as it is.
class Model {
 public:
  Model()
      : step_(*models::CaptureModel("gpt", SmallGpt(), kBatch,
                                    {.autocast = Dtype::kBF16, .clip_norm = 1})),
        types_(*InferGraph(*step_.graph, step_.sizes)),
        space_(*SearchSpace::Make({.graph = step_.graph.get(),
                                   .sizes = step_.sizes,
                                   .types = types_,
                                   .cluster = &cluster_,
                                   .memory_bytes = int64_t{1} << 40})) {}

  PartitionedGraph Parts(const StatedPlan& plan) {
    const Candidate candidate = CandidatesFor(space_.facts(plan.recompute), plan)->front();
    const PartitionRequest request = *space_.RequestFor(candidate, /*sample=*/false);
    return *Partition(request);
  }

  int64_t parameter_elements() const {
    int64_t elements = 0;
    for (const CapturedSlot& slot : step_.slots) {
      if (slot.role == SlotRole::kParameter) elements += slot.type.shape.elements();
    }
    return elements;
  }
  int64_t parameters() const {
    return std::count_if(step_.slots.begin(), step_.slots.end(), [](const CapturedSlot& slot) {
      return slot.role == SlotRole::kParameter;
    });
  }

 private:
  const Cluster cluster_;
  const CapturedStep step_;
  const std::vector<TensorType> types_;
  SearchSpace space_;
};

struct Sent {
  int calls = 0;
  int64_t elements = 0;  // of the operand
  uint32_t first = UINT32_MAX;
};

// Of one device: by op, and "of [shape]" for transfers.
std::map<Op, Sent> Collectives(const DeviceGraph& part) {
  const std::vector<TensorType> types = *InferGraph(*part.graph, part.sizes);
  std::map<Op, Sent> all;
  for (uint32_t i = 0; i < part.graph->nodes.size(); ++i) {
    const Node& node = part.graph->nodes[i];
    if (!IsCollective(node.op)) continue;
    Sent& sent = all[node.op];
    ++sent.calls;
    sent.elements +=
        types[node.op == Op::kRecv ? node.first_output : node.inputs[0]].shape.elements();
    sent.first = std::min(sent.first, i);
  }
  return all;
}

int Received(const DeviceGraph& part, const Shape& shape) {
  const std::vector<TensorType> types = *InferGraph(*part.graph, part.sizes);
  return int(std::count_if(part.graph->nodes.begin(), part.graph->nodes.end(), [&](const Node& n) {
    return n.op == Op::kRecv && types[n.first_output].shape == shape;
  }));
}

uint32_t LastMatmul(const Graph& graph) {
  uint32_t last = 0;
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op == Op::kMatmul) last = i;
  }
  return last;
}

TEST(CollectivesTest, ReplicasSumEachGradientOnce) {
  Model model;
  const PartitionedGraph parts = model.Parts({.data = 4});
  const std::map<Op, Sent> sent = Collectives(parts.parts[0]);
  ASSERT_EQ(sent.size(), 1) << "all_reduce alone";
  const Sent& sums = sent.at(Op::kAllReduce);
  // Beside gradients, the loss and what goes with it.
  EXPECT_GE(sums.elements, model.parameter_elements());
  EXPECT_LE(sums.elements, model.parameter_elements() + 8);
  EXPECT_LT(sums.first, LastMatmul(*parts.parts[0].graph)) << "none is sent before all are there";
}

TEST(CollectivesTest, ShardedOptimizersScatterEachGradientOnce) {
  Model model;
  const PartitionedGraph parts = model.Parts({.data = 4, .state = StateSharding::kGradients});
  const std::map<Op, Sent> sent = Collectives(parts.parts[0]);
  const Sent& scattered = sent.at(Op::kReduceScatter);
  EXPECT_LE(scattered.elements, model.parameter_elements());
  EXPECT_GE(scattered.elements, model.parameter_elements() * 9 / 10);
  EXPECT_LE(scattered.calls, model.parameters());
  EXPECT_LT(scattered.first, LastMatmul(*parts.parts[0].graph));
  // The norm of all gradients is summed from parts: a number for each.
  EXPECT_LE(sent.at(Op::kAllReduce).elements,
            2 * model.parameters() + model.parameter_elements() / 10);
}

// The first stage looks ids up in the table that the last multiplies with.
TEST(CollectivesTest, StagesExchangeASharedParameterOnceAStep) {
  constexpr int64_t kMicroBatches = 4;
  Model model;
  const PartitionedGraph parts =
      model.Parts({.stages = 2, .micro_batches = kMicroBatches, .recompute = RecomputeMode::kNone});
  ASSERT_EQ(parts.parts.size(), 2);
  const Shape table = {40, 16};
  EXPECT_EQ(Received(parts.parts[0], table), 1) << "its gradient";
  EXPECT_EQ(Received(parts.parts[1], table), 1) << "its content";
}

// One tensor each way a micro-batch, whatever shapes its readers want.
TEST(CollectivesTest, StagesExchangeOneTensorAMicroBatch) {
  constexpr int64_t kMicroBatches = 4;
  constexpr int64_t kElements = kBatch / kMicroBatches * 6 * 16;
  Model model;
  const PartitionedGraph parts = model.Parts({.stages = 3, .micro_batches = kMicroBatches});
  for (const DeviceGraph& part : parts.parts) {
    const std::vector<TensorType> types = *InferGraph(*part.graph, part.sizes);
    int received = 0;
    for (const Node& node : part.graph->nodes) {
      if (node.op == Op::kRecv && types[node.first_output].shape.elements() == kElements) {
        ++received;
      }
    }
    const bool inside = &part == &parts.parts[1];
    EXPECT_EQ(received, kMicroBatches * (inside ? 2 : 1));
  }
}

// Where a tensor axis splits the vocabulary, neither the logits nor a table is whole on any device.
TEST(CollectivesTest, ATensorAxisSplitsAllThatHasTheVocabulary) {
  constexpr int64_t kVocabulary = 20000;  // tables of 2.5 MB; no other extent is near
  const models::LlamaConfig config = {
      .vocabulary = kVocabulary, .hidden = 32, .ffn = 64, .layers = 2, .sequence = 6};
  const CapturedStep step = *models::CaptureModel("llama", config, kBatch, {.clip_norm = 1});
  const std::vector<TensorType> types = *InferGraph(*step.graph, step.sizes);
  const Cluster cluster;
  const SearchSpace space = *SearchSpace::Make({.graph = step.graph.get(),
                                                .sizes = step.sizes,
                                                .types = types,
                                                .cluster = &cluster,
                                                .memory_bytes = int64_t{1} << 40});
  const auto candidates =
      *CandidatesFor(space.facts(RecomputeMode::kNone), {.model = 2, .light = LightNodes::kSplit});
  int split = 0;
  for (const Candidate& candidate : candidates) {
    const std::vector<RoleId>& roles = candidate.axes[0].roles;
    const bool vocabulary = std::any_of(roles.begin(), roles.end(), [&](RoleId role) {
      return space.facts(RecomputeMode::kNone).roles()[role].extent == kVocabulary;
    });
    if (!vocabulary) continue;
    ++split;
    const PartitionedGraph parts = *Partition(*space.RequestFor(candidate, /*sample=*/false));
    const DeviceGraph& part = parts.parts[0];
    const std::vector<TensorType> local = *InferGraph(*part.graph, part.sizes);
    int64_t largest = 0;
    for (const TensorType& type : local) {
      if (type.shape.rank() > 1) largest = std::max(largest, type.shape.elements());
    }
    EXPECT_LE(largest, kVocabulary / 2 * kBatch * config.sequence)
        << "logits are the largest, in parts";
    int64_t state = 0, whole = 0;
    for (const Input& input : part.graph->inputs) {
      if (input.kind == InputKind::kSlot) state += local[input.value].bytes();
    }
    for (const Input& input : step.graph->inputs) {
      if (input.kind == InputKind::kSlot) whole += types[input.value].bytes();
    }
    EXPECT_LE(state, whole * 51 / 100);
  }
  EXPECT_GT(split, 0);
}

}  // namespace
}  // namespace moai
