#include "scheduler/planning/graph_facts.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/cost.h"
#include "scheduler/planning/forward_pass.h"
#include "scheduler/planning/node_kinds.h"

namespace moai {
absl::StatusOr<GraphFacts> GraphFacts::Make(const Graph& graph, absl::Span<const int64_t> sizes,
                                            absl::Span<const TensorType> types) {
  GraphFacts facts;
  facts.graph_ = &graph;
  facts.sizes_.assign(sizes.begin(), sizes.end());
  facts.types_.assign(types.begin(), types.end());
  std::vector<IndexSignature> signatures;
  signatures.reserve(graph.nodes.size());
  std::vector<TensorType> inputs;
  for (const Node& node : graph.nodes) {
    inputs.clear();
    for (ValueId input : node.inputs) inputs.push_back(types[input]);
    const absl::Span<const TensorType> outputs =
        types.subspan(node.first_output, node.output_count);
    MOAI_ASSIGN_OR_RETURN(IndexSignature signature, InstantiateSignature(node, inputs, outputs));
    signatures.push_back(std::move(signature));
    facts.flops_.push_back(CostOf(node, inputs, outputs).flops);
    facts.total_flops_ += facts.flops_.back();
    facts.heavy_.push_back(IsHeavy(node));
  }
  facts.factors_ = Factors::Analyze(graph, types, signatures);
  facts.strategies_.resize(graph.nodes.size());
  for (uint32_t node = 0; node < graph.nodes.size(); ++node) {
    ListStrategies(graph, node, types, signatures[node], facts.factors_, facts.strategies_[node]);
  }
  facts.turn_ = FindForwardPass(graph, types).turn;
  facts.MarkUpdates();
  facts.FindSums();
  facts.FindRoles();
  return facts;
}

bool GraphFacts::creates(uint32_t node) const {
  return Entry(graph_->nodes[node].op).op_class == OpClass::kCreate;
}

void GraphFacts::FindSums() {
  needs_sum_.assign(graph_->values.size(), false);
  for (const Output& output : graph_->outputs) needs_sum_[output.value] = true;
  for (uint32_t i = 0; i < graph_->nodes.size(); ++i) {
    const Node& node = graph_->nodes[i];
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      const auto takes_terms = [&](const NodeStrategy& strategy) {
        return strategy.inputs[k].kind == PlacementKind::kPartial;
      };
      const std::vector<NodeStrategy>& all = strategies_[i];
      if (std::none_of(all.begin(), all.end(), takes_terms)) needs_sum_[node.inputs[k]] = true;
    }
  }
}

void GraphFacts::MarkUpdates() {
  std::vector<int> reading(graph_->slot_count, -1);
  for (size_t i = 0; i < graph_->inputs.size(); ++i) {
    if (graph_->inputs[i].kind == InputKind::kSlot) {
      reading[graph_->inputs[i].index] = static_cast<int>(i);
    }
  }
  // Of each value: read by anything but updates and slots; written to a slot.
  std::vector<bool> elsewhere(graph_->values.size(), false), written(graph_->values.size(), false);
  for (const Output& output : graph_->outputs) {
    const bool slot = output.kind == OutputKind::kSlot;
    replaced_.push_back(slot ? reading[output.index] : -1);
    if (slot && replaced_.back() >= 0) {
      written[output.value] = true;
    } else {
      elsewhere[output.value] = true;
    }
  }
  update_.assign(graph_->nodes.size(), false);
  for (size_t i = graph_->nodes.size(); i-- > 0;) {
    const Node& node = graph_->nodes[i];
    bool only_slots = Entry(node.op).op_class == OpClass::kPointwise, any = false;
    for (uint32_t k = 0; k < node.output_count; ++k) {
      const ValueId value = node.first_output + k;
      only_slots = only_slots && !elsewhere[value];
      any = any || written[value];
    }
    update_[i] = only_slots && any;
    for (ValueId input : node.inputs) {
      if (update_[i]) {
        written[input] = true;
      } else {
        elsewhere[input] = true;
      }
    }
  }
}

void GraphFacts::FindRoles() {
  // Slots, and what is made of them alone: weights in another dtype or shape.
  std::vector<bool> state(graph_->values.size(), false);
  for (const Input& input : graph_->inputs) state[input.value] = input.kind == InputKind::kSlot;
  for (const Node& node : graph_->nodes) {
    const bool all =
        !node.inputs.empty() && std::all_of(node.inputs.begin(), node.inputs.end(),
                                            [&](ValueId input) { return bool(state[input]); });
    for (uint32_t k = 0; k < node.output_count; ++k) state[node.first_output + k] = all;
  }
  std::vector<bool> own_weights(factors_.count(), false);
  // A factor's role: its extent and the set of its places in heavy nodes.
  std::vector<std::vector<size_t>> places(factors_.count());
  std::vector<double> flops(factors_.count(), 0);
  std::vector<std::string> names(factors_.count());
  for (uint32_t i = 0; i < graph_->nodes.size(); ++i) {
    if (!heavy_[i]) continue;
    const Node& node = graph_->nodes[i];
    std::vector<int64_t> shapes;
    for (ValueId input : node.inputs) {
      shapes.insert(shapes.end(), types_[input].shape.begin(), types_[input].shape.end());
    }
    for (const NodeStrategy& strategy : strategies_[i]) {
      if (strategy.factor == kNoFactor) continue;
      size_t place = absl::HashOf(uint16_t(node.op), shapes, node.attributes);
      for (const AxisPlacement& input : strategy.inputs) {
        place = absl::HashOf(place, uint8_t(input.kind), input.dim, input.outer);
      }
      const auto split = [&](size_t k) { return strategy.inputs[k].kind == PlacementKind::kShard; };
      if (node.op == Op::kMatmul && split(0) && split(1) &&
          strategy.outputs[0].kind == PlacementKind::kShard &&
          state[node.inputs[0]] != state[node.inputs[1]]) {
        own_weights[strategy.factor] = true;
      }
      places[strategy.factor].push_back(place);
      flops[strategy.factor] += flops_[i];
      std::string& name = names[strategy.factor];
      if (name.empty()) name = absl::StrCat(Name(node.op), " ", factors_.extent(strategy.factor));
    }
  }
  absl::flat_hash_map<std::pair<int64_t, std::vector<size_t>>, RoleId> known;
  role_of_.resize(factors_.count());
  for (FactorId factor = 0; factor < factors_.count(); ++factor) {
    std::vector<size_t>& mine = places[factor];
    std::sort(mine.begin(), mine.end());
    mine.erase(std::unique(mine.begin(), mine.end()), mine.end());
    const auto [entry, added] = known.try_emplace(
        std::pair(factors_.extent(factor), std::move(mine)), RoleId(roles_.size()));
    if (added) {
      roles_.push_back({.extent = factors_.extent(factor), .name = std::move(names[factor])});
    }
    Role& role = roles_[entry->second];
    role.flops += flops[factor];
    role.own_weights = role.own_weights || own_weights[factor];
    role.factors.push_back(factor);
    role_of_[factor] = entry->second;
  }
  for (const Input& input : graph_->inputs) {
    if (input.kind != InputKind::kFeed && input.kind != InputKind::kValue) continue;
    for (int dim = 0; dim < types_[input.value].shape.rank(); ++dim) {
      for (const FactorPlace& place : factors_.Of(input.value, dim)) {
        roles_[role_of_[place.factor]].in_feeds = true;
      }
    }
  }
}

}  // namespace moai
