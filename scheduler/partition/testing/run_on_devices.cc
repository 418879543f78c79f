#include "scheduler/partition/testing/run_on_devices.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "graph/interpret_devices.h"
#include "scheduler/partition/layouts.h"
#include "scheduler/partition/testing/cut.h"

namespace moai {

ReferenceTensor ScalarTensor(Dtype dtype, Scalar scalar) {
  ReferenceTensor tensor = ReferenceTensor::Zeros({dtype, {}});
  if (IsFloat(dtype)) {
    tensor.floats[0] = scalar.f64;
  } else {
    tensor.integers[0] = scalar.i64;
  }
  return tensor;
}

absl::StatusOr<DevicesResult> RunOnDevices(const PartitionRequest& request,
                                           const std::vector<ReferenceTensor>& bindings,
                                           double tolerance) {
  const absl::StatusOr<PartitionedGraph> partitioned = Partition(request);
  if (!partitioned.ok()) return partitioned.status();
  const Graph& graph = *request.graph;
  const std::vector<Layout> input_layouts = LayoutsOfInputs(request);
  const std::vector<Layout> output_layouts = LayoutsOfOutputs(request);
  DevicesResult result;
  std::vector<DeviceRun> runs;
  for (size_t device = 0; device < partitioned->parts.size(); ++device) {
    const DeviceGraph& part = partitioned->parts[device];
    DeviceRun run{part.graph.get(), part.sizes, &part.groups, {}};
    for (size_t i = 0; i < part.graph->inputs.size(); ++i) {
      const Input& input = part.graph->inputs[i];
      if (i < graph.inputs.size()) {
        run.bindings.push_back(CutFor(bindings[i], input_layouts[i], int64_t(device)));
      } else {
        const size_t first = part.graph->scalar_count - part.constants.size();
        run.bindings.push_back(ScalarTensor(part.graph->values[input.value].dtype,
                                            part.constants[input.index - first]));
      }
    }
    runs.push_back(std::move(run));
  }
  for (const Node& node : partitioned->parts[0].graph->nodes) {
    if (IsCollective(node.op)) ++result.collectives[std::string(Name(node.op))];
  }
  const auto results = InterpretDevices(runs);
  if (!results.ok()) return results.status();
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    std::vector<ReferenceTensor> pieces;
    for (const auto& outputs : *results) pieces.push_back(outputs[i]);
    absl::StatusOr<ReferenceTensor> whole =
        JoinParts(pieces, request.types[graph.outputs[i].value], output_layouts[i], tolerance);
    if (!whole.ok()) {
      return absl::Status(whole.status().code(),
                          absl::StrCat("output ", i, ": ", whole.status().message()));
    }
    result.outputs.push_back(*std::move(whole));
  }
  return result;
}

}  // namespace moai
