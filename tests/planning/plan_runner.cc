#include "tests/planning/plan_runner.h"

#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "graph/infer.h"
#include "graph/interpret_devices.h"
#include "scheduler/partition/testing/cut.h"

namespace moai {
namespace {

ReferenceTensor ScalarTensor(Dtype dtype, Scalar scalar) {
  ReferenceTensor tensor = ReferenceTensor::Zeros({dtype, {}});
  if (IsFloat(dtype)) {
    tensor.floats[0] = scalar.f64;
  } else {
    tensor.integers[0] = scalar.i64;
  }
  return tensor;
}

}  // namespace

std::vector<ReferenceTensor> StepBindings(const CapturedStep& step, int64_t ids, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  const std::vector<TensorType> types = *InferGraph(*step.graph, step.sizes);
  std::vector<ReferenceTensor> bindings;
  for (const Input& input : step.graph->inputs) {
    const TensorType& type = types[input.value];
    if (input.kind == InputKind::kScalar) {
      bindings.push_back(ScalarTensor(type.dtype, step.scalars[input.index]));
      continue;
    }
    ReferenceTensor tensor = ReferenceTensor::Zeros(type);
    for (int64_t& element : tensor.integers) element = int64_t(random() % uint64_t(ids));
    const bool slot = input.kind == InputKind::kSlot;
    const bool moment = slot && step.slots[input.index].role == SlotRole::kOptimizer;
    const bool square = moment && absl::StartsWith(step.slots[input.index].name, "v.");
    for (double& element : tensor.floats) {
      element = moment ? 1e-3 * normal(random) : 0.2 * normal(random);
      if (square) element *= element;
    }
    bindings.push_back(std::move(tensor));
  }
  return bindings;
}

absl::StatusOr<PlanRun> RunPartitioned(const PartitionRequest& request,
                                       const std::vector<ReferenceTensor>& bindings,
                                       double tolerance) {
  const absl::StatusOr<PartitionedGraph> partitioned = Partition(request);
  if (!partitioned.ok()) return partitioned.status();
  const Graph& graph = *request.graph;
  PlanRun result;
  std::vector<DeviceRun> runs;
  for (size_t device = 0; device < partitioned->parts.size(); ++device) {
    const DeviceGraph& part = partitioned->parts[device];
    DeviceRun run{part.graph.get(), part.sizes, &part.groups, {}};
    for (size_t i = 0; i < part.graph->inputs.size(); ++i) {
      const Input& input = part.graph->inputs[i];
      if (i < graph.inputs.size()) {
        Layout layout{request.mesh, request.inputs[i]};
        if (input.kind == InputKind::kFeed || input.kind == InputKind::kScalar) {
          layout = Replicated(request.mesh);
        }
        run.bindings.push_back(CutFor(bindings[i], layout, int64_t(device)));
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
        JoinParts(pieces, request.types[graph.outputs[i].value], {request.mesh, request.outputs[i]},
                  tolerance);
    if (!whole.ok()) {
      return absl::Status(whole.status().code(),
                          absl::StrCat("output ", i, ": ", whole.status().message()));
    }
    result.outputs.push_back(*std::move(whole));
  }
  return result;
}

}  // namespace moai
