// The planner of sessions on whole training steps: what it finds where memory is short.
#include "scheduler/planning/auto_planner.h"

#include <gtest/gtest.h>

#include <vector>

#include "client/models/catalog.h"
#include "graph/builder.h"
#include "graph/infer.h"

namespace moai {
namespace {

// A first step: what later ones read as state, it makes.
CapturedGraph FirstStep(const CapturedStep& step, const std::vector<TensorType>& types) {
  GraphBuilder builder;
  std::vector<ValueId> copies(types.size());
  std::vector<Input> slots;
  const Graph& graph = *step.graph;
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) {
      slots.push_back(input);
    } else if (input.kind == InputKind::kScalar) {
      copies[input.value] = builder.AddScalar(types[input.value].dtype);
    } else {
      copies[input.value] = builder.AddInput(input.kind, input.index, types[input.value]);
    }
  }
  const ValueId zero = builder.AddScalar(Dtype::kF32);
  for (const Input& slot : slots) {
    const Shape& shape = types[slot.value].shape;
    copies[slot.value] = *builder.AddNode(Op::kFill, {zero}, {shape.rank()}, shape.span());
  }
  for (const Node& node : graph.nodes) {
    std::vector<ValueId> inputs;
    for (ValueId input : node.inputs) inputs.push_back(copies[input]);
    const ValueId first =
        *builder.AddNode(node.op, inputs, node.attributes, Extents(node, step.sizes), node.numbers);
    for (uint32_t k = 0; k < node.output_count; ++k) copies[node.first_output + k] = first + k;
  }
  for (const Output& output : graph.outputs) {
    builder.AddOutput(output.kind, copies[output.value], output.index);
  }
  return builder.Finish();
}

// A wide batch on small devices. Estimates say that state fits whole and does not fit in parts; its
// programs say the opposite.
TEST(AutoPlanner, LooksAtPlansOfEachSortBeforeItRefuses) {
  const models::LlamaConfig config = {.vocabulary = 256,
                                      .hidden = 256,
                                      .ffn = 704,
                                      .layers = 2,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .sequence = 16};
  const CapturedStep step = *models::CaptureModel("small", config, 512, {.autocast = std::nullopt});
  const CapturedGraph first = FirstStep(step, *InferGraph(*step.graph, step.sizes));
  std::vector<DeviceProfile> devices;
  for (uint64_t i = 0; i < 16; ++i) {
    devices.push_back({.kind = "cpu", .memory_bytes = 20 << 20, .threads = 1, .node = i / 4});
  }
  const PlanRequest request = {.graph = std::make_shared<const Graph>(first.graph),
                               .sizes = first.sizes,
                               .types = first.types,
                               .devices = devices};
  const auto plan = MakeAutoPlanner()->MakePlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (const StepMemory& memory : (*plan)->memory) EXPECT_LE(memory.total(), 20 << 20);
}

// Images come with a step, and so do their three channels: these are no batch that could be cut in
// two.
TEST(AutoPlanner, CutsOnlyWhatDividesIntoMicroBatches) {
  const CapturedStep step = *models::CaptureModel(
      "small",
      models::ResnetConfig{.blocks = {1, 1, 1, 1}, .width = 16, .classes = 16, .image = 32}, 16,
      {.autocast = std::nullopt});
  const std::vector<TensorType> types = *InferGraph(*step.graph, step.sizes);
  const std::vector<DeviceProfile> devices(
      2, {.kind = "cpu", .memory_bytes = int64_t{2} << 30, .threads = 1});
  const PlanRequest request = {
      .graph = step.graph, .sizes = step.sizes, .types = types, .devices = devices};
  for (const int64_t data : {1, 2}) {
    for (const int state : {0, 1, 2, 3}) {
      for (const int recompute : {0, 1, 2}) {
        const auto planner = MakeAutoPlanner(
            {.constraints = {
                 .data = data, .micro_batches = 2, .state = state, .recompute = recompute}});
        const auto plan = planner->MakePlan(request);
        // A mode of recomputation that changes nothing is none.
        EXPECT_TRUE(plan.ok() || absl::IsInvalidArgument(plan.status()))
            << "data " << data << " state " << state << " recompute " << recompute << ": "
            << plan.status();
      }
    }
  }
}

}  // namespace
}  // namespace moai
