#include "scheduler/partition/testing/run_on_devices.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "graph/interpret_devices.h"
#include "scheduler/partition/testing/cut.h"

namespace moai {
namespace {

bool OnEveryStage(const PartitionRequest& request, size_t input) {
  const InputKind kind = request.graph->inputs[input].kind;
  return kind == InputKind::kFeed || kind == InputKind::kScalar ||
         request.pipeline.chunk_of_input[input] == PipelineCut::kEveryStage;
}

// What every stage has counts as the first one's.
int64_t StageOfInput(const PartitionRequest& request, size_t input) {
  if (OnEveryStage(request, input)) return 0;
  return request.pipeline.chunk_of_input[input] % request.pipeline.stages;
}

int64_t StageOfOutput(const PartitionRequest& request, size_t index) {
  const Graph& graph = *request.graph;
  const Output& output = graph.outputs[index];
  // State stays where it is.
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Input& input = graph.inputs[i];
    if (output.kind == OutputKind::kSlot && input.kind == InputKind::kSlot &&
        input.index == output.index) {
      return StageOfInput(request, i);
    }
  }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    if (graph.inputs[i].value == output.value) return StageOfInput(request, i);
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const ValueId first = graph.nodes[i].first_output;
    if (output.value >= first && output.value < first + graph.nodes[i].output_count) {
      return request.pipeline.chunk_of_node[i] % request.pipeline.stages;
    }
  }
  return 0;
}

ReferenceTensor EmptyLike(const ReferenceTensor& tensor) {
  return ReferenceTensor::Zeros({tensor.type.dtype, Shape::Filled(tensor.type.shape.rank(), 0)});
}

}  // namespace

ReferenceTensor ScalarTensor(Dtype dtype, Scalar scalar) {
  ReferenceTensor tensor = ReferenceTensor::Zeros({dtype, {}});
  if (IsFloat(dtype)) {
    tensor.floats[0] = scalar.f64;
  } else {
    tensor.integers[0] = scalar.i64;
  }
  return tensor;
}

std::vector<ReferenceTensor> BindingsOf(const PartitionRequest& request, const DeviceGraph& part,
                                        const std::vector<ReferenceTensor>& bindings,
                                        int64_t device) {
  const Graph& graph = *request.graph;
  std::vector<ReferenceTensor> own;
  for (size_t i = 0; i < part.graph->inputs.size(); ++i) {
    const Input& input = part.graph->inputs[i];
    if (i >= graph.inputs.size()) {
      const size_t first = part.graph->scalar_count - part.constants.size();
      own.push_back(
          ScalarTensor(part.graph->values[input.value].dtype, part.constants[input.index - first]));
      continue;
    }
    const bool whole = input.kind == InputKind::kFeed || input.kind == InputKind::kScalar;
    const Layout layout =
        whole ? Replicated(request.mesh) : Layout{request.mesh, request.inputs[i]};
    const bool here = !request.pipeline.used() || OnEveryStage(request, i) ||
                      StageOfInput(request, i) == request.mesh.Coordinate(device, 0);
    own.push_back(here ? CutFor(bindings[i], layout, device) : EmptyLike(bindings[i]));
  }
  return own;
}

absl::StatusOr<std::vector<ReferenceTensor>> JoinOutputs(
    const PartitionRequest& request, const std::vector<std::vector<ReferenceTensor>>& results,
    double tolerance) {
  std::vector<ReferenceTensor> outputs;
  for (size_t i = 0; i < request.graph->outputs.size(); ++i) {
    // Of a pipeline, the devices of the one stage that has it.
    Layout layout{request.mesh, request.outputs[i]};
    std::vector<ReferenceTensor> pieces;
    const int64_t devices = int64_t(results.size()) / request.pipeline.stages;
    int64_t first = 0;
    if (request.pipeline.used()) {
      first = StageOfOutput(request, i) * devices;
      layout.mesh.axes.erase(layout.mesh.axes.begin());
      layout.placement.erase(layout.placement.begin());
    }
    for (int64_t k = 0; k < devices; ++k) pieces.push_back(results[size_t(first + k)][i]);
    absl::StatusOr<ReferenceTensor> whole =
        JoinParts(pieces, request.types[request.graph->outputs[i].value], layout, tolerance);
    if (!whole.ok()) {
      return absl::Status(whole.status().code(),
                          absl::StrCat("output ", i, ": ", whole.status().message()));
    }
    outputs.push_back(*std::move(whole));
  }
  return outputs;
}

absl::StatusOr<DevicesResult> RunOnDevices(const PartitionRequest& request,
                                           const std::vector<ReferenceTensor>& bindings,
                                           double tolerance) {
  const absl::StatusOr<PartitionedGraph> partitioned = Partition(request);
  if (!partitioned.ok()) return partitioned.status();
  DevicesResult result;
  std::vector<DeviceRun> runs;
  for (size_t device = 0; device < partitioned->parts.size(); ++device) {
    const DeviceGraph& part = partitioned->parts[device];
    runs.push_back({part.graph.get(), part.sizes, &part.groups,
                    BindingsOf(request, part, bindings, int64_t(device))});
  }
  for (const Node& node : partitioned->parts[0].graph->nodes) {
    if (IsCollective(node.op)) ++result.collectives[std::string(Name(node.op))];
  }
  const auto results = InterpretDevices(runs);
  if (!results.ok()) return results.status();
  absl::StatusOr<std::vector<ReferenceTensor>> outputs = JoinOutputs(request, *results, tolerance);
  if (!outputs.ok()) return outputs.status();
  result.outputs = *std::move(outputs);
  return result;
}

}  // namespace moai
