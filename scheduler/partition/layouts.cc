#include "scheduler/partition/layouts.h"

namespace moai {
namespace {

bool ComesWithStep(InputKind kind) {
  return kind == InputKind::kFeed || kind == InputKind::kScalar;
}

// The first axis of a pipeline's mesh is its stages.
Layout At(const PartitionRequest& request, uint32_t stage, const Placement& placement) {
  Layout layout{request.mesh, placement};
  if (request.pipeline.used() && stage != PipelineCut::kEveryStage)
    layout.placement[0] = OnlyAt(stage);
  return layout;
}

}  // namespace

std::vector<uint32_t> StagesOfInputs(const PartitionRequest& request) {
  const Graph& graph = *request.graph;
  std::vector<uint32_t> stages(graph.inputs.size(), 0);
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    if (ComesWithStep(graph.inputs[i].kind)) {
      stages[i] = PipelineCut::kEveryStage;
    } else if (request.pipeline.used()) {
      const uint32_t chunk = request.pipeline.chunk_of_input[i];
      stages[i] = chunk == PipelineCut::kEveryStage ? PipelineCut::kEveryStage
                                                    : chunk % uint32_t(request.pipeline.stages);
    }
  }
  return stages;
}

std::vector<uint32_t> StagesOfOutputs(const PartitionRequest& request) {
  const Graph& graph = *request.graph;
  std::vector<uint32_t> stages(graph.outputs.size(), 0);
  if (!request.pipeline.used()) return stages;
  const std::vector<uint32_t> inputs = StagesOfInputs(request);
  std::vector<uint32_t> made_at(graph.values.size(), 0),
      slot_at(graph.slot_count, PipelineCut::kEveryStage);
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Input& input = graph.inputs[i];
    made_at[input.value] = inputs[i] == PipelineCut::kEveryStage ? 0 : inputs[i];
    if (input.kind == InputKind::kSlot) slot_at[input.index] = made_at[input.value];
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (uint32_t k = 0; k < node.output_count; ++k) {
      made_at[node.first_output + k] =
          request.pipeline.chunk_of_node[i] % uint32_t(request.pipeline.stages);
    }
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const Output& output = graph.outputs[i];
    const bool replaces =
        output.kind == OutputKind::kSlot && slot_at[output.index] != PipelineCut::kEveryStage;
    stages[i] = replaces ? slot_at[output.index] : made_at[output.value];
  }
  return stages;
}

std::vector<Layout> LayoutsOfInputs(const PartitionRequest& request) {
  const std::vector<uint32_t> stages = StagesOfInputs(request);
  std::vector<Layout> layouts;
  for (size_t i = 0; i < stages.size(); ++i) {
    layouts.push_back(ComesWithStep(request.graph->inputs[i].kind)
                          ? Replicated(request.mesh)
                          : At(request, stages[i], request.inputs[i]));
  }
  return layouts;
}

std::vector<Layout> LayoutsOfOutputs(const PartitionRequest& request) {
  const std::vector<uint32_t> stages = StagesOfOutputs(request);
  std::vector<Layout> layouts;
  for (size_t i = 0; i < stages.size(); ++i) {
    layouts.push_back(At(request, stages[i], request.outputs[i]));
  }
  return layouts;
}

}  // namespace moai
