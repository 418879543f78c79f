#include "scheduler/planning/assign.h"

#include <algorithm>
#include <limits>

#include "absl/container/inlined_vector.h"

namespace moai {
namespace {

// Relative costs of a byte that is sent to another device and one that is read or written here. The
// choice between two strategies of a light node hardly ever depends on more than their order.
constexpr double kSentByte = 1;
constexpr double kLocalByte = 0.05;
// Results up to this size are whole on every device, so that they can be read at once.
constexpr int64_t kSmallResult = 64 << 10;
// Initial values of state above this size are made in parts.
constexpr int64_t kLargeState = 1 << 20;

bool IsShard(const AxisPlacement& placement) { return placement.kind == PlacementKind::kShard; }

class Assigner {
 public:
  Assigner(const GraphFacts& facts, const AxisPolicy& policy)
      : facts_(facts), graph_(facts.graph()), policy_(policy) {
    rank_.assign(facts.roles().size(), std::numeric_limits<int>::max());
    for (size_t i = 0; i < policy.roles.size(); ++i) rank_[policy.roles[i]] = int(i);
    // A tensor axis: its devices have parts of the parameters, and all of the samples.
    splits_tables_ = !policy.time && !policy.roles.empty() &&
                     !facts.roles()[policy.roles[0]].in_feeds &&
                     !facts.roles()[policy.roles[0]].own_weights;
    versions_.resize(graph_.values.size());
    free_.assign(graph_.values.size(), false);
    written_.assign(graph_.values.size(), false);
    from_feeds_.assign(graph_.values.size(), false);
    scalar_.assign(graph_.values.size(), false);
    state_split_.assign(graph_.values.size(), false);
    for (const Input& input : graph_.inputs) {
      from_feeds_[input.value] = input.kind == InputKind::kFeed || input.kind == InputKind::kValue;
      scalar_[input.value] = input.kind == InputKind::kScalar;
    }
    for (const Output& output : graph_.outputs) {
      if (output.kind == OutputKind::kSlot) written_[output.value] = true;
    }
  }

  AxisAssignment Run() {
    PlaceInputs();
    for (uint32_t node = 0; node < graph_.nodes.size(); ++node) Take(node, Choose(node));
    PlaceOutputs();
    return std::move(result_);
  }

 private:
  using Versions = absl::InlinedVector<AxisPlacement, 2>;

  void PlaceInputs() {
    for (const Input& input : graph_.inputs) {
      // State lies as its first reader wants it.
      free_[input.value] =
          !policy_.time && (input.kind == InputKind::kSlot || input.kind == InputKind::kValue);
      versions_[input.value].push_back({});
    }
    if (policy_.state != StateSharding::kParameters) return;
    for (const Input& input : graph_.inputs) {
      if (input.kind != InputKind::kSlot) continue;
      const AxisPlacement split = SplitOfState(input.value);
      if (!IsShard(split)) continue;
      free_[input.value] = false;
      state_split_[input.value] = true;
      versions_[input.value][0] = split;
    }
  }

  // Where a piece of state is split that nothing else says how to: its outermost factor that gives
  // every device something, of all dims.
  AxisPlacement SplitOfState(ValueId value) const {
    const Shape& shape = facts_.types()[value].shape;
    AxisPlacement split;
    for (int dim = 0; dim < shape.rank(); ++dim) {
      for (const FactorPlace& place : facts_.factors().Of(value, dim)) {
        if (place.count < policy_.extent) continue;
        const RoleId role = facts_.role(place.factor);
        const bool taken =
            std::find(policy_.taken.begin(), policy_.taken.end(), role) != policy_.taken.end();
        if (!taken) return ShardAt(dim, place);
        if (!IsShard(split)) split = ShardAt(dim, place);
      }
    }
    return split;
  }

  double Bytes(ValueId value) const { return double(facts_.types()[value].bytes()); }

  double MoveCost(ValueId value, const AxisPlacement& want) const {
    if (free_[value] && want.kind != PlacementKind::kPartial) return 0;
    double least = std::numeric_limits<double>::infinity();
    for (const AxisPlacement& from : versions_[value]) {
      least = std::min(least, MoveCost(from, want, Bytes(value)));
    }
    return least;
  }

  double MoveCost(const AxisPlacement& from, const AxisPlacement& want, double bytes) const {
    if (from == want) return 0;
    if (want.kind == PlacementKind::kPartial) return std::numeric_limits<double>::infinity();
    const double p = double(policy_.extent);
    const double all = kSentByte * bytes * (p - 1) / p;
    // Slices are views or copies of a part.
    if (from.kind == PlacementKind::kReplicate) return kLocalByte * bytes / p;
    // Along time nothing is sent, but what is put together needs all micro-batches at once.
    if (policy_.time) return 4 * kSentByte * bytes;
    if (from.kind == PlacementKind::kPartial) return IsShard(want) ? all : 2 * all;
    return IsShard(want) ? all / p : all;
  }

  bool InPolicy(RoleId role) const { return rank_[role] != std::numeric_limits<int>::max(); }

  // Whether the policy, or how an input lies already, allows a light node to be split so.
  bool Allowed(const Node& node, const NodeStrategy& strategy) const {
    if (policy_.time && strategy.kind == StrategyKind::kExchange) return false;
    if (strategy.factor == kNoFactor) return true;
    if (facts_.factors().extent(strategy.factor) < policy_.extent) return false;
    if (InPolicy(facts_.role(strategy.factor))) return true;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!IsShard(strategy.inputs[i]) || free_[node.inputs[i]]) continue;
      // Parameters that lie in parts are gathered where they meet what comes with the step.
      if (state_split_[node.inputs[i]] && !OnlySplitState(node)) continue;
      const Versions& versions = versions_[node.inputs[i]];
      if (std::find(versions.begin(), versions.end(), strategy.inputs[i]) != versions.end()) {
        return true;
      }
      // Where state is split, what becomes of a gradient may be, as the state is.
      if (policy_.state != StateSharding::kNone && versions[0].kind == PlacementKind::kPartial &&
          strategy.inputs[i] == SplitOfState(node.inputs[i])) {
        return true;
      }
    }
    return false;
  }

  // Makes of parts of state what is no larger than they are: another dtype, another shape. What
  // is broadcast, as a bias is, is as large as what it meets, and lies as that does.
  bool OnlySplitState(const Node& node) const {
    int64_t elements = 0;
    for (ValueId input : node.inputs) {
      if (!state_split_[input] && !scalar_[input]) return false;
      elements = std::max(elements, facts_.types()[input].shape.elements());
    }
    return elements >= facts_.types()[node.first_output].shape.elements();
  }

  double Cost(const Node& node, const NodeStrategy& strategy) const {
    double cost = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      cost += MoveCost(node.inputs[i], strategy.inputs[i]);
      cost += LocalCost(node.inputs[i], strategy.inputs[i]);
    }
    for (size_t i = 0; i < node.output_count; ++i) {
      cost += LocalCost(node.first_output + ValueId(i), strategy.outputs[i]);
      // Terms are still to be summed: they are scattered at least.
      const bool terms = strategy.outputs[i].kind == PlacementKind::kPartial;
      if (terms && strategy.kind != StrategyKind::kPartial && !policy_.time) {
        const double p = double(policy_.extent);
        cost += kSentByte * Bytes(node.first_output + ValueId(i)) * (p - 1) / p;
      }
    }
    return cost;
  }

  double LocalCost(ValueId value, const AxisPlacement& placement) const {
    return kLocalByte * Bytes(value) / (IsShard(placement) ? double(policy_.extent) : 1);
  }

  const NodeStrategy& Choose(uint32_t i) const {
    const Node& node = graph_.nodes[i];
    const absl::Span<const NodeStrategy> all = facts_.strategies(i);
    // Token counts and the like: known before the first micro-batch, so that none waits for all.
    if (policy_.time && FromFeedsOnly(i)) return all[0];
    if (facts_.creates(i)) return ChooseCreator(node, all);
    if (facts_.update(i) && TouchesState(node)) {
      if (policy_.time) return all[0];
      if (policy_.state != StateSharding::kNone) {
        if (const NodeStrategy* split = ChooseSharded(node, all)) return *split;
      }
    }
    if (facts_.heavy(i)) {
      if (const NodeStrategy* split = ChooseHeavy(node, all)) return *split;
    }
    if (const NodeStrategy* split = ChooseTable(node, all)) return *split;
    if (const NodeStrategy* split = ChooseTableGradient(node, all)) return *split;
    return Cheapest(node, all);
  }

  // Looks up in a large piece of state that nothing has read yet.
  bool ReadsTable(const Node& node) const {
    return Entry(node.op).op_class == OpClass::kIndexed && free_[node.inputs[0]] &&
           Bytes(node.inputs[0]) >= double(kLargeState);
  }

  // Tables of embeddings: large parameters of light nodes. What a split sends for the rows that are
  // read is little beside the rest of the step; whole tables, with their gradients and moments, are
  // not little beside the rest of the memory. As other nodes will want the table, where they do.
  const NodeStrategy* ChooseTable(const Node& node, absl::Span<const NodeStrategy> all) const {
    if (!splits_tables_ || !ReadsTable(node)) return nullptr;
    const NodeStrategy* best = nullptr;
    bool best_wanted = false;
    for (const NodeStrategy& strategy : all) {
      if (strategy.factor == kNoFactor || !IsShard(strategy.inputs[0])) continue;
      if (facts_.factors().extent(strategy.factor) < policy_.extent) continue;
      const bool wanted = InPolicy(facts_.role(strategy.factor));
      if (best != nullptr &&
          (best_wanted > wanted ||
           (best_wanted == wanted && Cost(node, *best) <= Cost(node, strategy)))) {
        continue;
      }
      best = &strategy;
      best_wanted = wanted;
    }
    return best;
  }

  // As the table lies.
  const NodeStrategy* ChooseTableGradient(const Node& node,
                                          absl::Span<const NodeStrategy> all) const {
    if (table_factors_.empty() || Entry(node.op).op_class != OpClass::kIndexed) return nullptr;
    for (const NodeStrategy& strategy : all) {
      if (strategy.factor == kNoFactor || !IsShard(strategy.outputs[0])) continue;
      const auto found = std::find(table_factors_.begin(), table_factors_.end(), strategy.factor);
      if (found != table_factors_.end()) return &strategy;
    }
    return nullptr;
  }

  bool FromFeedsOnly(uint32_t i) const {
    if (facts_.heavy(i)) return false;
    bool any = false;
    for (ValueId input : graph_.nodes[i].inputs) {
      if (facts_.types()[input].shape.rank() == 0 && scalar_[input]) continue;
      if (!from_feeds_[input]) return false;
      any = true;
    }
    return any;
  }

  // Terms that some other node needs summed are summed anyway, and before this node: its result
  // then needs no sum of its own.
  bool PassesWhatIsSummed(const Node& node, const NodeStrategy& strategy) const {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const bool terms = strategy.inputs[i].kind == PlacementKind::kPartial;
      if (terms && facts_.needs_sum(node.inputs[i])) return true;
    }
    return false;
  }

  static bool JoinsTerms(const NodeStrategy& strategy) {
    return std::count_if(strategy.inputs.begin(), strategy.inputs.end(),
                         [](const AxisPlacement& input) {
                           return input.kind == PlacementKind::kPartial;
                         }) > 1;
  }

  const NodeStrategy& Cheapest(const Node& node, absl::Span<const NodeStrategy> all) const {
    const NodeStrategy* best = &all[0];
    double least = std::numeric_limits<double>::infinity();
    for (const NodeStrategy& strategy : all) {
      if (!Allowed(node, strategy)) continue;
      if (policy_.sums_apart && JoinsTerms(strategy)) continue;
      if (PassesWhatIsSummed(node, strategy)) continue;
      const double cost = Cost(node, strategy);
      if (cost >= least) continue;
      best = &strategy;
      least = cost;
    }
    return *best;
  }

  const NodeStrategy* ChooseHeavy(const Node& node, absl::Span<const NodeStrategy> all) const {
    const NodeStrategy* best = nullptr;
    int rank = std::numeric_limits<int>::max();
    double least = 0;
    for (const NodeStrategy& strategy : all) {
      if (strategy.factor == kNoFactor) continue;
      if (facts_.factors().extent(strategy.factor) < policy_.extent) continue;
      const int mine = rank_[facts_.role(strategy.factor)];
      if (mine == std::numeric_limits<int>::max() || mine > rank) continue;
      const double cost = Cost(node, strategy);
      if (mine == rank && cost >= least) continue;
      best = &strategy;
      rank = mine;
      least = cost;
    }
    return best;
  }

  // What is made where it lies costs nothing to split: as the policy prefers.
  const NodeStrategy& ChooseCreator(const Node& node, absl::Span<const NodeStrategy> all) const {
    const NodeStrategy* best = &all[0];
    int rank = std::numeric_limits<int>::max();
    for (const NodeStrategy& strategy : all) {
      if (strategy.factor == kNoFactor) continue;
      if (facts_.factors().extent(strategy.factor) < policy_.extent) continue;
      const int mine = rank_[facts_.role(strategy.factor)];
      if (mine >= rank) continue;
      best = &strategy;
      rank = mine;
    }
    const bool large_state = written_[node.first_output] && Bytes(node.first_output) >= kLargeState;
    if (best->whole() && large_state && !policy_.time) {
      if (const NodeStrategy* split = ChooseSharded(node, all)) return *split;
    }
    return *best;
  }

  bool TouchesState(const Node& node) const {
    for (ValueId input : node.inputs) {
      if (free_[input]) return true;
    }
    for (size_t i = 0; i < node.output_count; ++i) {
      if (written_[node.first_output + ValueId(i)]) return true;
    }
    return false;
  }

  // As the state it touches lies already, where that is split; else along the state's own factor.
  const NodeStrategy* ChooseSharded(const Node& node, absl::Span<const NodeStrategy> all) const {
    const AxisPlacement want = SplitOfState(node.first_output);
    const NodeStrategy* best = nullptr;
    for (const NodeStrategy& strategy : all) {
      if (!IsShard(strategy.outputs[0])) continue;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (free_[node.inputs[i]] || facts_.types()[node.inputs[i]].shape.rank() == 0) continue;
        if (IsShard(strategy.inputs[i]) && versions_[node.inputs[i]][0] == strategy.inputs[i]) {
          return &strategy;
        }
      }
      if (strategy.outputs[0] == want) best = &strategy;
    }
    return best;
  }

  void Take(uint32_t i, const NodeStrategy& strategy) {
    const Node& node = graph_.nodes[i];
    if (ReadsTable(node) && IsShard(strategy.inputs[0])) {
      table_factors_.push_back(strategy.factor);
    }
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      Versions& versions = versions_[node.inputs[k]];
      const AxisPlacement& want = strategy.inputs[k];
      if (free_[node.inputs[k]]) {
        versions[0] = want;
        free_[node.inputs[k]] = false;
      } else if (std::find(versions.begin(), versions.end(), want) == versions.end()) {
        versions.push_back(want);
      }
    }
    const bool from_feeds = FromFeedsOnly(i);
    const bool state_split = !node.inputs.empty() && OnlySplitState(node);
    for (size_t k = 0; k < node.output_count; ++k) {
      versions_[node.first_output + ValueId(k)].push_back(strategy.outputs[k]);
      from_feeds_[node.first_output + ValueId(k)] = from_feeds;
      state_split_[node.first_output + ValueId(k)] = state_split;
    }
    result_.nodes.push_back(&strategy);
  }

  void PlaceOutputs() {
    for (const Input& input : graph_.inputs) {
      result_.inputs.push_back(versions_[input.value][0]);
    }
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      const Output& output = graph_.outputs[i];
      const int replaced = facts_.ReplacedInput(i);
      if (replaced >= 0) {
        result_.outputs.push_back(result_.inputs[size_t(replaced)]);
        continue;
      }
      AxisPlacement made = versions_[output.value][0];
      const bool small = facts_.types()[output.value].bytes() <= kSmallResult;
      if (policy_.time || small || made.kind == PlacementKind::kPartial) made = {};
      result_.outputs.push_back(made);
    }
  }

  const GraphFacts& facts_;
  const Graph& graph_;
  const AxisPolicy& policy_;
  std::vector<int> rank_;           // by role: its place in the policy
  std::vector<Versions> versions_;  // by value; the first is how it was made
  bool splits_tables_ = false;
  std::vector<FactorId> table_factors_;  // by which tables are split
  std::vector<bool> free_;               // by value: state that nothing has read yet
  std::vector<bool> written_;            // by value: becomes the content of a slot
  std::vector<bool> from_feeds_;   // by value: made by light nodes from what comes with the step
  std::vector<bool> scalar_;       // by value: a scalar of the step
  std::vector<bool> state_split_;  // by value: parameters in parts (ZeRO 3), or made of them alone
  AxisAssignment result_;
};

}  // namespace

AxisAssignment AssignAxis(const GraphFacts& facts, const AxisPolicy& policy) {
  return Assigner(facts, policy).Run();
}

}  // namespace moai
