#include "scheduler/planning/reduced_space.h"

#include <algorithm>
#include <tuple>

#include "absl/container/flat_hash_set.h"
#include "base/status.h"
#include "scheduler/cost/collective_cost.h"
#include "scheduler/planning/micro_batch_barrier.h"
#include "scheduler/planning/pipeline.h"

namespace moai {
namespace {

constexpr RoleId kNoRole = UINT32_MAX;
// A reduced graph that is hardly smaller is not worth being less exact.
constexpr double kMostShare = 0.7;

bool SameAxes(const Candidate& a, const Candidate& b) {
  if (a.axes.size() != b.axes.size() || a.micro_batches != b.micro_batches ||
      a.time_roles != b.time_roles || (a.stages > 1) != (b.stages > 1)) {
    return false;
  }
  for (size_t i = 0; i < a.axes.size(); ++i) {
    const AxisPolicy &x = a.axes[i], &y = b.axes[i];
    if (x.extent != y.extent || x.roles != y.roles || x.state != y.state) return false;
  }
  return true;
}

// Divides the nodes and inputs of the whole graph over the stages of a cut.
class Divider {
 public:
  Divider(const Graph& whole, const ReducedGraph& reduced, const PipelineCut& cut)
      : whole_(whole), reduced_(reduced), cut_(cut), stages_(uint32_t(cut.stages)) {
    weights_.resize(stages_);
    for (StageWeights& weights : weights_) {
      weights.nodes.assign(reduced.graph.nodes.size(), 0);
      weights.inputs.assign(reduced.graph.inputs.size(), 0);
    }
  }

  template <typename Transfer>
  void Run(std::vector<StageWeights>& weights, std::vector<Transfer>& transfers) {
    AddInputs();
    for (uint32_t node = 0; node < whole_.nodes.size(); ++node) {
      const Node& n = whole_.nodes[node];
      const uint32_t chunk = cut_.used() ? cut_.chunk_of_node[node] : 0;
      weights_[chunk % stages_].nodes[reduced_.producer[reduced_.stands_for[n.first_output]]] += 1;
      for (uint32_t k = 0; k < n.output_count; ++k) home_[n.first_output + k] = chunk;
      for (ValueId input : n.inputs) Want(input, chunk);
    }
    weights = std::move(weights_);
    std::map<std::tuple<uint32_t, uint32_t, ValueId, bool>, double> counts;
    for (const auto& [value, chunk] : wanted_) {
      ++counts[{home_[value] % stages_, chunk % stages_, reduced_.stands_for[value],
                chunk > home_[value]}];
    }
    for (const auto& [key, count] : counts) {
      const auto& [from, to, value, forward] = key;
      transfers.push_back({from, to, value, forward, count});
    }
  }

 private:
  void AddInputs() {
    std::vector<uint32_t> position(reduced_.graph.values.size(), 0);
    for (uint32_t i = 0; i < reduced_.graph.inputs.size(); ++i) {
      position[reduced_.graph.inputs[i].value] = i;
    }
    home_.assign(whole_.values.size(), 0);
    everywhere_.assign(whole_.values.size(), false);
    for (size_t i = 0; i < whole_.inputs.size(); ++i) {
      const Input& input = whole_.inputs[i];
      const uint32_t chunk = cut_.used() ? cut_.chunk_of_input[i] : 0;
      const bool everywhere = input.kind == InputKind::kFeed || input.kind == InputKind::kScalar ||
                              chunk == PipelineCut::kEveryStage;
      everywhere_[input.value] = everywhere;
      if (!everywhere) home_[input.value] = chunk;
      const uint32_t here = position[reduced_.stands_for[input.value]];
      for (uint32_t stage = 0; stage < stages_; ++stage) {
        if (everywhere || stage == chunk % stages_) weights_[stage].inputs[here] += 1;
      }
    }
  }

  // Once for each stage that wants it.
  void Want(ValueId value, uint32_t chunk) {
    if (everywhere_[value] || home_[value] % stages_ == chunk % stages_) return;
    if (!sent_.insert({value, chunk % stages_}).second) return;
    wanted_.push_back({value, chunk});
  }

  const Graph& whole_;
  const ReducedGraph& reduced_;
  const PipelineCut& cut_;
  const uint32_t stages_;
  std::vector<StageWeights> weights_;
  std::vector<uint32_t> home_;  // by value: its chunk
  std::vector<bool> everywhere_;
  std::vector<std::pair<ValueId, uint32_t>> wanted_;        // and by which chunk
  absl::flat_hash_set<std::pair<ValueId, uint32_t>> sent_;  // and to which stage
};

}  // namespace

std::unique_ptr<ReducedSpace> ReducedSpace::Make(const GraphFacts& whole) {
  absl::StatusOr<ReducedGraph> reduced = ReduceGraph(whole.graph(), whole.sizes(), whole.types());
  if (!reduced.ok() || reduced->rows == 0 ||
      double(reduced->graph.nodes.size()) > kMostShare * double(whole.graph().nodes.size())) {
    return nullptr;
  }
  std::unique_ptr<ReducedSpace> space(new ReducedSpace(whole));
  space->reduced_ = *std::move(reduced);
  const ReducedGraph& graph = space->reduced_;
  absl::StatusOr<GraphFacts> facts = GraphFacts::Make(graph.graph, graph.sizes, graph.types);
  if (!facts.ok()) return nullptr;
  space->facts_ = *std::move(facts);
  if (!space->MapRoles()) return nullptr;
  return space;
}

// Equal nodes list their strategies in one order.
bool ReducedSpace::MapRoles() {
  role_of_.assign(whole_.roles().size(), kNoRole);
  std::vector<RoleId> whole_of(facts_->roles().size(), kNoRole);
  for (uint32_t node = 0; node < whole_.graph().nodes.size(); ++node) {
    const ValueId here = reduced_.stands_for[whole_.graph().nodes[node].first_output];
    const auto all = whole_.strategies(node), mine = facts_->strategies(reduced_.producer[here]);
    if (all.size() != mine.size()) return false;
    for (size_t i = 0; i < all.size(); ++i) {
      if ((all[i].factor == kNoFactor) != (mine[i].factor == kNoFactor)) return false;
      if (all[i].factor == kNoFactor) continue;
      const RoleId from = whole_.role(all[i].factor), to = facts_->role(mine[i].factor);
      if (whole_.roles()[from].extent != facts_->roles()[to].extent) return false;
      if (role_of_[from] == kNoRole) role_of_[from] = to;
      // Roles that only light nodes have may be one in the whole and several here.
      if (role_of_[from] != to && whole_.roles()[from].flops > 0) return false;
    }
  }
  return true;
}

std::vector<RoleId> ReducedSpace::Mapped(const std::vector<RoleId>& roles) const {
  std::vector<RoleId> mapped;
  for (RoleId role : roles) {
    if (role_of_[role] != kNoRole) mapped.push_back(role_of_[role]);
  }
  return mapped;
}

absl::StatusOr<const ReducedSpace::Division*> ReducedSpace::DivisionOf(int64_t stages,
                                                                       int64_t virtual_stages) {
  const auto [entry, added] = divisions_.try_emplace({stages, virtual_stages}, Division());
  if (added) {
    absl::StatusOr<PipelineCut> cut = PipelineCut();
    if (stages > 1) cut = CutPipeline(whole_, stages, uint32_t(stages * virtual_stages));
    if (cut.ok()) {
      Divider(whole_.graph(), reduced_, *cut).Run(entry->second->stages, entry->second->transfers);
    } else {
      entry->second = cut.status();
    }
  }
  if (!entry->second.ok()) return entry->second.status();
  return &*entry->second;
}

absl::StatusOr<const ReducedSpace::Sampled*> ReducedSpace::SampleOf(const Cluster& cluster,
                                                                    const Candidate& candidate,
                                                                    Overlap overlap) {
  if (last_ != nullptr && SameAxes(last_->candidate, candidate)) return last_.get();
  Candidate mapped = candidate;
  for (AxisPolicy& axis : mapped.axes) axis.roles = Mapped(axis.roles);
  mapped.time_roles = Mapped(candidate.time_roles);
  PartitionRequest request;
  request.graph = &reduced_.graph;
  request.sizes = reduced_.sizes;
  request.types = reduced_.types;
  request.micro_batches = candidate.micro_batches;
  request.sample = true;
  request.inputs.resize(reduced_.graph.inputs.size());
  request.outputs.resize(reduced_.graph.outputs.size());
  request.devices = {0};
  AddAxes(*facts_, mapped, assignments_, request);
  const Node& turn = whole_.graph().nodes[whole_.turn()];
  request.turn = reduced_.producer[reduced_.stands_for[turn.first_output]];
  auto sampled = std::make_unique<Sampled>();
  sampled->candidate = candidate;
  MOAI_ASSIGN_OR_RETURN(sampled->partitioned, Partition(request));
  sampled->sample.emplace(
      cluster, sampled->partitioned, 0, sampled->partitioned.types[0],
      EvaluateOptions{.overlap = overlap, .micro_batches = candidate.micro_batches}, &reduced_);
  sampled->barrier =
      candidate.micro_batches > 1 && HasMicroBatchBarrier(reduced_.graph, sampled->partitioned);
  last_ = std::move(sampled);
  return last_.get();
}

absl::StatusOr<StepCost> ReducedSpace::Evaluate(const Cluster& cluster, const Candidate& candidate,
                                                Overlap overlap) {
  MOAI_ASSIGN_OR_RETURN(const Division* division,
                        DivisionOf(candidate.stages, candidate.virtual_stages));
  MOAI_ASSIGN_OR_RETURN(const Sampled* sampled, SampleOf(cluster, candidate, overlap));
  const StageSample* const sample = &*sampled->sample;
  std::vector<StageCost> stages;
  for (const StageWeights& weights : division->stages) stages.push_back(sample->Cost(weights));
  int64_t devices = 1;  // of a stage
  for (const AxisPolicy& axis : candidate.axes) devices *= axis.extent;
  for (const Transfer& transfer : division->transfers) {
    const double bytes = double(sample->MadeBytes(transfer.value));
    const DeviceGroup pair = {uint32_t(transfer.from * devices), uint32_t(transfer.to * devices)};
    const double seconds = transfer.count * CollectiveSeconds(cluster, CollectiveKind::kSendRecv,
                                                              bytes, GroupOf(cluster, pair));
    const bool often = sample->MadeInMicroBatch(transfer.value) && candidate.micro_batches > 1;
    const double repeats = often ? double(candidate.micro_batches) : 1;
    for (const uint32_t stage : {transfer.from, transfer.to}) {
      StageCost& own = stages[stage];
      (often ? own.micro_batch : own.once) += seconds;
      own.cost.communication += repeats * seconds;
      own.cost.sent_bytes += repeats * transfer.count * bytes / 2;
    }
    // What came from the chunk before is needed again in the backward pass.
    if (transfer.forward) {
      StageCost& to = stages[transfer.to];
      to.most += transfer.count * bytes;
      to.loop += transfer.count * bytes;
      if (often) to.crossing += transfer.count * bytes;
    }
  }
  return CostOfStages(cluster, stages,
                      {.overlap = overlap,
                       .micro_batches = candidate.micro_batches,
                       .virtual_stages = candidate.virtual_stages,
                       .barrier = sampled->barrier});
}

}  // namespace moai
