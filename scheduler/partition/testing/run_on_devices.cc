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

std::vector<ReferenceTensor> BindingsOf(const PartitionRequest& request, const DeviceGraph& part,
                                        const std::vector<ReferenceTensor>& bindings,
                                        int64_t device) {
  const std::vector<Layout> layouts = LayoutsOfInputs(request);
  std::vector<ReferenceTensor> own;
  for (size_t i = 0; i < part.graph->inputs.size(); ++i) {
    if (i < layouts.size()) {
      own.push_back(CutFor(bindings[i], layouts[i], device));
      continue;
    }
    const Input& input = part.graph->inputs[i];
    const size_t first = part.graph->scalar_count - part.constants.size();
    own.push_back(
        ScalarTensor(part.graph->values[input.value].dtype, part.constants[input.index - first]));
  }
  return own;
}

absl::StatusOr<std::vector<ReferenceTensor>> JoinOutputs(
    const PartitionRequest& request, const std::vector<std::vector<ReferenceTensor>>& results,
    double tolerance) {
  const std::vector<Layout> layouts = LayoutsOfOutputs(request);
  std::vector<ReferenceTensor> outputs;
  for (size_t i = 0; i < request.graph->outputs.size(); ++i) {
    std::vector<ReferenceTensor> pieces;
    for (const std::vector<ReferenceTensor>& of_device : results) pieces.push_back(of_device[i]);
    absl::StatusOr<ReferenceTensor> whole =
        JoinParts(pieces, request.types[request.graph->outputs[i].value], layouts[i], tolerance);
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
