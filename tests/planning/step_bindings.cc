#include "tests/planning/step_bindings.h"

#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "graph/infer.h"
#include "scheduler/partition/testing/run_on_devices.h"

namespace moai {

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

}  // namespace moai
