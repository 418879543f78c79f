#include "scheduler/planning/lower_bound.h"

#include <algorithm>
#include <vector>

#include "graph/cost.h"
#include "scheduler/cost/fused_cost.h"
#include "scheduler/cost/op_cost.h"
#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

bool IsAttention(Op op) { return op == Op::kAttention || op == Op::kAttentionGrad; }

// Operations per second of the best shape.
double BestRate(const DeviceModel& device, const Node& node, Dtype dtype) {
  if (IsAttention(node.op)) {
    const MathKind math = device.attention_in_f32 ? MathKind::kF32 : MathFor(device, dtype);
    const double share =
        node.op == Op::kAttention ? device.attention_fraction : device.attention_grad_fraction;
    // Larger heads than any in use.
    return device.peak(math) * share * std::max(1.0, AttentionHeadRate(1024));
  }
  const MathKind math = MathFor(device, dtype);
  double rate = 0;
  for (const MatmulSample& sample : device.matmul_samples) {
    if (sample.math == math) rate = std::max(rate, sample.flops_per_second);
  }
  return rate > 0 ? rate : device.peak(math) * device.matmul.peak_fraction;
}

}  // namespace

LowerBound FindLowerBound(const Cluster& cluster, const Graph& graph,
                          absl::Span<const TensorType> types, int64_t devices) {
  const DeviceModel& device = cluster.device;
  const KernelGroups groups = GroupFusedNodes(graph, types);
  LowerBound bound;
  std::vector<TensorType> inputs;
  for (uint32_t group = 0; group < groups.groups.size(); ++group) {
    const Node& last = graph.nodes[groups.groups[group].back()];
    if (!IsHeavy(last)) {
      const double seconds = CostOfGroup(device, graph, types, groups, group).seconds;
      bound.other += std::max(0.0, seconds - device.kernel_seconds);
      continue;
    }
    inputs.clear();
    for (ValueId input : last.inputs) inputs.push_back(types[input]);
    const double flops =
        CostOf(last, inputs, types.subspan(last.first_output, last.output_count)).flops;
    const double rate = BestRate(device, last, inputs[0].dtype);
    if (rate > 0) bound.arithmetic += flops / rate;
  }
  bound.arithmetic /= double(devices);
  bound.other /= double(devices);
  bound.host = device.step_seconds;
  bound.seconds = bound.arithmetic + bound.other + bound.host;
  return bound;
}

}  // namespace moai
