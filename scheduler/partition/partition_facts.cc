#include <algorithm>

#include "scheduler/partition/layouts.h"
#include "scheduler/partition/stage_recorder.h"

namespace moai {

PartitionFacts::PartitionFacts(const PartitionRequest& request)
    : request_(request), time_(int(request.mesh.axes.size())) {
  FindPhases();
  FindFirstWants();
  FindState();
}

const NodeStrategy* PartitionFacts::StrategyOf(int axis, uint32_t node) const {
  if (size_t(axis) >= request_.strategies.size()) return nullptr;
  const std::vector<const NodeStrategy*>& of_axis = request_.strategies[size_t(axis)];
  return of_axis.empty() ? nullptr : of_axis[node];
}

bool PartitionFacts::InLoop(uint32_t node) const {
  const NodeStrategy* time = StrategyOf(time_, node);
  return time != nullptr && !time->whole();
}

bool PartitionFacts::DividesMean(uint32_t node) const {
  for (int axis = 0; axis <= time_; ++axis) {
    const NodeStrategy* strategy = StrategyOf(axis, node);
    if (strategy != nullptr && strategy->kind == StrategyKind::kMean) return true;
  }
  return false;
}

Placement PartitionFacts::InputOf(uint32_t node, size_t input) const {
  Placement placement(size_t(time_) + 1);
  for (int axis = 0; axis <= time_; ++axis) {
    if (const NodeStrategy* strategy = StrategyOf(axis, node)) {
      placement[size_t(axis)] = strategy->inputs[input];
    }
  }
  return placement;
}

Placement PartitionFacts::OutputOf(uint32_t node, size_t output) const {
  Placement placement(size_t(time_) + 1);
  for (int axis = 0; axis <= time_; ++axis) {
    if (const NodeStrategy* strategy = StrategyOf(axis, node)) {
      placement[size_t(axis)] = strategy->outputs[output];
    }
  }
  return placement;
}

Placement PartitionFacts::OfGraphInput(size_t input) const {
  Placement where(size_t(time_) + 1);
  const InputKind kind = graph().inputs[input].kind;
  if (kind == InputKind::kSlot || kind == InputKind::kValue) {
    std::copy(request_.inputs[input].begin(), request_.inputs[input].end(), where.begin());
  }
  return where;
}

Placement PartitionFacts::OfGraphOutput(size_t output) const {
  Placement where = request_.outputs[output];
  where.resize(size_t(time_) + 1);
  return where;
}

bool PartitionFacts::ThroughWhole(const Placement& from, const Placement& to) const {
  if (!SplitInTime(from)) return false;
  if (!(from[size_t(time_)] == to[size_t(time_)])) return true;
  if (from[size_t(time_)].kind != PlacementKind::kShard) return false;
  for (size_t axis = 0; axis < size_t(time_); ++axis) {
    if ((from[axis] == from[size_t(time_)]) != (to[axis] == to[size_t(time_)])) return true;
  }
  return false;
}

void PartitionFacts::FindPhases() {
  phases_.resize(graph().nodes.size());
  producer_.assign(graph().values.size(), PartitionedGraph::kNoSource);
  made_.resize(graph().values.size());
  joined_.assign(graph().values.size(), false);
  std::vector<uint32_t> ready(graph().values.size(), 0);  // phase of each value
  for (size_t i = 0; i < graph().inputs.size(); ++i) {
    made_[graph().inputs[i].value] = OfGraphInput(i);
  }
  // What a node that is split along time makes whole, every micro-batch makes.
  std::vector<bool> whole_in_loop(graph().values.size(), false);
  const auto use = [&](ValueId value, const Placement& want, bool in_loop) {
    const bool joined = ThroughWhole(made_[value], want);
    if (joined) joined_[value] = true;
    const bool after_loop = joined || (whole_in_loop[value] && !in_loop);
    return ready[value] + (after_loop ? 1 : 0);
  };
  for (uint32_t node = 0; node < graph().nodes.size(); ++node) {
    const Node& n = graph().nodes[node];
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      phases_[node] = std::max(phases_[node], use(n.inputs[i], InputOf(node, i), InLoop(node)));
    }
    for (uint32_t i = 0; i < n.output_count; ++i) {
      ready[n.first_output + i] = phases_[node];
      producer_[n.first_output + i] = node;
      made_[n.first_output + i] = OutputOf(node, i);
      whole_in_loop[n.first_output + i] = InLoop(node) && !SplitInTime(made_[n.first_output + i]);
    }
    last_phase_ = std::max(last_phase_, phases_[node]);
  }
  for (size_t i = 0; i < graph().outputs.size(); ++i) {
    use(graph().outputs[i].value, OfGraphOutput(i), /*in_loop=*/false);
  }
}

void PartitionFacts::FindFirstWants() {
  first_wants_.resize(graph().values.size());
  std::vector<bool> read(graph().values.size(), false);
  std::vector<uint32_t> stage(graph().values.size(), 0);
  const bool pipeline = request_.pipeline.used();
  const auto see = [&](ValueId value, const Placement& want, bool same_stage) {
    if (read[value]) return;
    read[value] = true;
    const Placement& made = made_[value];
    bool terms = false;
    for (size_t axis = 0; axis < size_t(time_); ++axis) {
      terms = terms || (made[axis].kind == PlacementKind::kPartial && !(made[axis] == want[axis]));
    }
    // What is put together of micro-batches has its reader behind them.
    const bool concat = made[size_t(time_)].kind == PlacementKind::kShard && joined_[value];
    if (terms && same_stage && !concat) first_wants_[value] = want;
  };
  const std::vector<uint32_t> of_outputs = StagesOfOutputs(request_);
  for (uint32_t node = 0; node < graph().nodes.size(); ++node) {
    const Node& n = graph().nodes[node];
    const uint32_t here =
        pipeline ? request_.pipeline.chunk_of_node[node] % uint32_t(request_.pipeline.stages) : 0;
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      see(n.inputs[i], InputOf(node, i), stage[n.inputs[i]] == here);
    }
    for (uint32_t k = 0; k < n.output_count; ++k) stage[n.first_output + k] = here;
  }
  for (size_t i = 0; i < graph().outputs.size(); ++i) {
    const ValueId value = graph().outputs[i].value;
    see(value, OfGraphOutput(i), stage[value] == of_outputs[i]);
  }
}

void PartitionFacts::FindState() {
  is_state_.assign(graph().values.size(), false);
  std::vector<bool> number(graph().values.size(), false);
  for (const Input& input : graph().inputs) {
    is_state_[input.value] = input.kind == InputKind::kSlot;
    number[input.value] = input.kind == InputKind::kScalar;
  }
  for (const Node& node : graph().nodes) {
    bool any = false, all = true;
    for (ValueId input : node.inputs) {
      any = any || is_state_[input];
      all = all && (is_state_[input] || number[input]);
    }
    for (uint32_t k = 0; k < node.output_count; ++k) {
      is_state_[node.first_output + k] = any && all;
    }
  }
}

Placement PartitionFacts::SumPlace(ValueId value) const {
  Placement place = made_[value];
  const Placement* want = first_want(value);
  if (!request_.scatter_terms || want == nullptr) return place;
  for (size_t axis = 0; axis < size_t(time_); ++axis) {
    const bool scatter =
        place[axis].kind == PlacementKind::kPartial && (*want)[axis].kind == PlacementKind::kShard;
    if (scatter) place[axis] = (*want)[axis];
  }
  return place;
}

}  // namespace moai
