#include "scheduler/report/running_step.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/planning/auto_planner.h"
#include "scheduler/planning/forward_pass.h"
#include "scheduler/planning/local_cluster.h"

namespace moai {
namespace {

void DescribeSlots(const Graph& graph, const std::vector<TensorType>& types, CapturedStep& step) {
  const uint32_t turn = FindForwardPass(graph, types).turn;
  std::vector<bool> read(graph.values.size(), false);  // by the forward pass
  for (uint32_t i = 0; i <= turn && i < graph.nodes.size(); ++i) {
    for (ValueId input : graph.nodes[i].inputs) read[input] = true;
  }
  std::vector<bool> replaced(graph.slot_count, false);
  for (const Output& output : graph.outputs) {
    if (output.kind == OutputKind::kSlot) replaced[output.index] = true;
  }
  step.slots.resize(graph.slot_count);
  for (const Input& input : graph.inputs) {
    if (input.kind != InputKind::kSlot) continue;
    CapturedSlot& slot = step.slots[input.index];
    slot.name = absl::StrCat("slot ", input.index);
    slot.type = types[input.value];
    if (!replaced[input.index]) continue;
    slot.role = read[input.value] ? SlotRole::kParameter : SlotRole::kOptimizer;
    if (slot.role == SlotRole::kParameter) step.parameters += slot.type.shape.elements();
  }
}

void DescribeFeeds(const Graph& graph, const std::vector<TensorType>& types, CapturedStep& step) {
  for (const Input& input : graph.inputs) {
    if (input.kind != InputKind::kFeed && input.kind != InputKind::kValue) continue;
    const TensorType& type = types[input.value];
    if (type.shape.rank() == 0) continue;
    step.samples = type.shape[0];
    const bool ids = type.dtype == Dtype::kI32 || type.dtype == Dtype::kI64;
    if (ids && type.shape.rank() == 2) step.tokens = type.shape.elements();
    return;
  }
}

}  // namespace

absl::StatusOr<PlanReport> ReportOf(const RunningStep& running, const std::string& name,
                                    const SearchConstraints& constraints) {
  if (running.devices.empty()) return absl::InvalidArgumentError("a session without devices");
  MOAI_ASSIGN_OR_RETURN(
      PlanningInput input,
      MakePlanningInput({.name = name, .graph = running.graph, .sizes = running.sizes},
                        LocalCluster(running.devices)));
  DescribeSlots(*running.graph, input.types, input.step);
  DescribeFeeds(*running.graph, input.types, input.step);
  SearchRequest search = SessionSearch({.graph = running.graph,
                                        .sizes = running.sizes,
                                        .types = input.types,
                                        .devices = running.devices,
                                        .other_bytes = running.other_bytes,
                                        .buckets = running.buckets},
                                       input.cluster);
  search.constraints = constraints;
  input.cluster.device.memory_bytes = double(search.memory_bytes);
  MOAI_ASSIGN_OR_RETURN(const PlannedStep planned, PlanStep(search));
  return MakeReport(input, {.devices = search.devices}, planned);
}

}  // namespace moai
