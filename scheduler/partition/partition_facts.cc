#include <algorithm>

#include "scheduler/partition/stage_recorder.h"

namespace moai {

PartitionFacts::PartitionFacts(const PartitionRequest& request)
    : request_(request), time_(int(request.mesh.axes.size())) {
  FindPhases();
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
      made_[n.first_output + i] = OutputOf(node, i);
      whole_in_loop[n.first_output + i] = InLoop(node) && !SplitInTime(made_[n.first_output + i]);
    }
    last_phase_ = std::max(last_phase_, phases_[node]);
  }
  for (size_t i = 0; i < graph().outputs.size(); ++i) {
    use(graph().outputs[i].value, OfGraphOutput(i), /*in_loop=*/false);
  }
}

}  // namespace moai
