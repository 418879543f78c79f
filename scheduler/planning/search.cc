#include "scheduler/planning/search.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "scheduler/planning/pipeline.h"

namespace moai {
namespace {

constexpr RecomputeMode kModes[] = {RecomputeMode::kNone, RecomputeMode::kSelective,
                                    RecomputeMode::kFull};
constexpr StateSharding kStates[] = {StateSharding::kNone, StateSharding::kOptimizer,
                                     StateSharding::kParameters};
// Roles with a smaller share of the arithmetic are not where a list begins, or goes on.
constexpr double kSeedShare = 0.10;
constexpr double kGainShare = 0.02;
constexpr int64_t kMostMicroBatches = 256;
// How many lists for the model axis are tried with every mesh.
constexpr size_t kMostModelLists = 10;

// Stages, and two axes at most in each: one for what comes with each step, one for what does not.
struct Split {
  int64_t stages = 1;
  int64_t data = 1;
  int64_t model = 1;
};

bool Allows(int64_t fixed, int64_t value) { return fixed == 0 || fixed == value; }

std::vector<Split> SplitsOf(const SearchRequest& request) {
  std::vector<Split> splits;
  for (int64_t stages = 1; stages <= request.most_stages; ++stages) {
    if (request.devices % stages != 0 || !Allows(request.constraints.stages, stages)) continue;
    const int64_t rest = request.devices / stages;
    for (int64_t model = 1; model <= rest; ++model) {
      if (rest % model != 0 || !Allows(request.constraints.model, model)) continue;
      if (!Allows(request.constraints.data, rest / model)) continue;
      splits.push_back({stages, rest / model, model});
    }
  }
  return splits;
}

}  // namespace

absl::StatusOr<SearchSpace> SearchSpace::Make(const SearchRequest& request) {
  SearchSpace space;
  space.request_ = request;
  for (RecomputeMode mode : kModes) {
    MOAI_ASSIGN_OR_RETURN(RewrittenGraph rewritten,
                          Recompute(*request.graph, request.sizes, request.types, mode));
    auto graph = std::make_shared<const RewrittenGraph>(std::move(rewritten));
    // A mode that changes nothing is none.
    const bool same =
        mode != RecomputeMode::kNone && graph->graph.nodes.size() == request.graph->nodes.size();
    if (same) {
      space.graphs_.push_back(space.graphs_[0]);
      space.facts_.push_back(space.facts_[0]);
      continue;
    }
    MOAI_ASSIGN_OR_RETURN(GraphFacts facts,
                          GraphFacts::Make(graph->graph, graph->sizes, graph->types));
    space.graphs_.push_back(std::move(graph));
    space.facts_.push_back(std::make_shared<const GraphFacts>(std::move(facts)));
  }
  return space;
}

std::vector<SearchSpace::RoleList> SearchSpace::GrowLists(const GraphFacts& facts,
                                                          bool data) const {
  const double total = facts.total_flops();
  const size_t nodes = facts.graph().nodes.size();
  std::vector<RoleId> seeds;
  for (RoleId role = 0; role < facts.roles().size(); ++role) {
    const Role& r = facts.roles()[role];
    if (r.extent < 2 || r.flops < kSeedShare * total || (data && !r.in_feeds)) continue;
    seeds.push_back(role);
  }
  std::sort(seeds.begin(), seeds.end(),
            [&](RoleId a, RoleId b) { return facts.roles()[a].flops > facts.roles()[b].flops; });
  std::set<RoleList> known;
  std::vector<RoleList> lists;
  const auto add = [&](RoleList list) {
    if (known.insert(list).second) lists.push_back(std::move(list));
  };
  for (RoleId seed : seeds) {
    RoleList list = {seed};
    std::vector<bool> covered(nodes, false);
    while (list.size() < 8) {
      // What the list splits by now, and what each other role would add.
      std::vector<double> gain(facts.roles().size(), 0);
      for (uint32_t node = 0; node < nodes; ++node) {
        if (!facts.heavy(node) || covered[node]) continue;
        for (const NodeStrategy& strategy : facts.strategies(node)) {
          if (strategy.factor != kNoFactor && facts.role(strategy.factor) == list.back()) {
            covered[node] = true;
          }
        }
        if (covered[node]) continue;
        for (const NodeStrategy& strategy : facts.strategies(node)) {
          if (strategy.factor != kNoFactor) gain[facts.role(strategy.factor)] += facts.flops(node);
        }
      }
      const RoleId best = RoleId(std::max_element(gain.begin(), gain.end()) - gain.begin());
      if (gain[best] < kGainShare * total || facts.roles()[best].extent < 2) break;
      list.push_back(best);
    }
    add(list);
    if (data) continue;
    // Light nodes may be split along what comes with the step, where heavy ones are not.
    for (RoleId role = 0; role < facts.roles().size(); ++role) {
      if (!facts.roles()[role].in_feeds || facts.roles()[role].extent < 2) continue;
      if (std::find(list.begin(), list.end(), role) != list.end()) continue;
      RoleList longer = list;
      longer.push_back(role);
      add(std::move(longer));
    }
  }
  if (lists.empty()) lists.emplace_back();
  return lists;
}

absl::StatusOr<PartitionRequest> SearchSpace::RequestFor(const Candidate& candidate,
                                                         bool sample) const {
  const GraphFacts& facts = *facts_[size_t(candidate.recompute)];
  PartitionRequest request;
  request.graph = &facts.graph();
  request.sizes = facts.sizes();
  request.types = facts.types();
  request.micro_batches = candidate.micro_batches;
  request.sample = sample;
  request.inputs.resize(facts.graph().inputs.size());
  request.outputs.resize(facts.graph().outputs.size());
  if (candidate.stages > 1) {
    MOAI_ASSIGN_OR_RETURN(
        request.pipeline,
        CutPipeline(facts, candidate.stages,
                    static_cast<uint32_t>(candidate.stages * candidate.virtual_stages)));
    request.mesh.axes.push_back({"stage", candidate.stages});
    request.strategies.emplace_back();
    for (Placement& input : request.inputs) input.push_back({});
    for (Placement& output : request.outputs) output.push_back({});
  }
  for (size_t axis = 0; axis < candidate.axes.size(); ++axis) {
    request.mesh.axes.push_back({candidate.axis_names[axis], candidate.axes[axis].extent});
    AxisAssignment assignment = AssignAxis(facts, candidate.axes[axis]);
    for (size_t i = 0; i < request.inputs.size(); ++i) {
      request.inputs[i].push_back(assignment.inputs[i]);
    }
    for (size_t i = 0; i < request.outputs.size(); ++i) {
      request.outputs[i].push_back(assignment.outputs[i]);
    }
    request.strategies.push_back(std::move(assignment.nodes));
  }
  if (candidate.micro_batches > 1) {
    AxisPolicy time{.extent = candidate.micro_batches, .time = true, .roles = candidate.time_roles};
    request.strategies.push_back(AssignAxis(facts, time).nodes);
  }
  // In a sample the first device of each stage stands for the others.
  const int64_t devices = request.mesh.DeviceCount();
  const int64_t step = sample ? devices / candidate.stages : 1;
  for (int64_t device = 0; device < devices; device += step) request.devices.push_back(device);
  return request;
}

absl::StatusOr<StepCost> SearchSpace::EvaluateCandidate(const Candidate& candidate) const {
  MOAI_ASSIGN_OR_RETURN(const PartitionRequest request, RequestFor(candidate, /*sample=*/true));
  MOAI_ASSIGN_OR_RETURN(const PartitionedGraph partitioned, Partition(request));
  return Evaluate(*request_.cluster, partitioned,
                  {.overlap = request_.overlap,
                   .micro_batches = candidate.micro_batches,
                   .virtual_stages = candidate.virtual_stages});
}

absl::StatusOr<SearchResult> SearchSpace::Search() const {
  SearchResult result;
  const int64_t available = request_.memory_bytes - request_.other_bytes;
  std::vector<EvaluatedCandidate> fitting, others;
  absl::Status last_error;
  const auto evaluate = [&](const Candidate& candidate) -> const EvaluatedCandidate* {
    absl::StatusOr<StepCost> cost = EvaluateCandidate(candidate);
    if (!cost.ok()) {
      last_error = cost.status();
      return nullptr;
    }
    ++result.evaluated;
    const bool fits = cost->total_bytes() <= available;
    if (fits) ++result.feasible;
    std::vector<EvaluatedCandidate>& to = fits ? fitting : others;
    to.push_back({candidate, *cost});
    return &to.back();
  };
  const SearchConstraints& fixed = request_.constraints;

  // First every mesh and list in its fastest form: nothing recomputed, one micro-batch. It bounds
  // what the same mesh and list can reach with less memory.
  const GraphFacts& plain = *facts_[0];
  const std::vector<RoleList> data_lists = GrowLists(plain, /*data=*/true);
  std::vector<RoleList> model_lists = GrowLists(plain, /*data=*/false);
  if (model_lists.size() > kMostModelLists) model_lists.resize(kMostModelLists);
  struct Base {
    size_t data_list;
    size_t model_list;
    Split split;
    int64_t virtual_stages;
    double bound;
  };
  const auto make = [&](const Base& base, RecomputeMode mode, StateSharding state,
                        int64_t micro_batches, const std::vector<RoleList>& data,
                        const std::vector<RoleList>& model) {
    Candidate candidate;
    candidate.recompute = mode;
    candidate.micro_batches = micro_batches;
    candidate.stages = base.split.stages;
    candidate.virtual_stages = base.virtual_stages;
    if (base.split.data > 1) {
      candidate.axes.push_back(
          {.extent = base.split.data, .roles = data[base.data_list], .state = state});
      candidate.axis_names.push_back("data");
    }
    if (base.split.model > 1) {
      candidate.axes.push_back({.extent = base.split.model, .roles = model[base.model_list]});
      candidate.axis_names.push_back("model");
    }
    if (!data[base.data_list].empty()) candidate.time_roles = {data[base.data_list][0]};
    return candidate;
  };
  std::vector<Base> bases;
  for (const Split& split : SplitsOf(request_)) {
    const size_t data_count = data_lists.size();
    const size_t model_count = split.model > 1 ? model_lists.size() : 1;
    for (size_t i = 0; i < data_count; ++i) {
      for (size_t j = 0; j < model_count; ++j) {
        for (int64_t v : {1, 2, 4}) {
          if ((split.stages == 1 && v > 1) || !Allows(fixed.virtual_stages, v)) continue;
          Base base{i, j, split, v, 0};
          const RoleList& list = data_lists[i];
          const int64_t extent =
              list.empty() ? 1 : PartOf(plain.roles()[list[0]].extent, split.data, 0);
          // A pipeline is fastest with the most micro-batches, where it is not for their overhead.
          const int64_t m = split.stages == 1 ? 1 : std::min(extent, kMostMicroBatches);
          if (split.stages > 1 && (m < 2 || extent % m != 0)) continue;
          const EvaluatedCandidate* evaluated = evaluate(
              make(base, RecomputeMode::kNone, StateSharding::kNone, m, data_lists, model_lists));
          if (evaluated == nullptr) continue;
          base.bound = evaluated->cost.seconds * (split.stages == 1 ? 1 : 0.7);
          bases.push_back(base);
        }
      }
    }
  }
  if (bases.empty()) {
    return last_error.ok()
               ? absl::InvalidArgumentError("no mesh of these devices satisfies the constraints")
               : last_error;
  }
  std::stable_sort(bases.begin(), bases.end(),
                   [](const Base& a, const Base& b) { return a.bound < b.bound; });

  // Only fully constrained forms of the first pass count as results.
  const auto allowed = [&](const Candidate& candidate, StateSharding state) {
    return (fixed.micro_batches == 0 || fixed.micro_batches == candidate.micro_batches) &&
           (fixed.recompute < 0 || fixed.recompute == int(candidate.recompute)) &&
           (fixed.state < 0 || fixed.state == int(state));
  };
  fitting.clear();
  others.clear();
  double best = std::numeric_limits<double>::infinity();
  for (const Base& base : bases) {
    if (base.bound >= best) break;
    for (RecomputeMode mode : kModes) {
      if (mode != RecomputeMode::kNone && graphs_[size_t(mode)] == graphs_[0]) continue;
      const GraphFacts& facts = *facts_[size_t(mode)];
      const std::vector<RoleList> data = GrowLists(facts, true);
      const std::vector<RoleList> model = GrowLists(facts, false);
      if (base.data_list >= data.size() || base.model_list >= model.size()) continue;
      for (StateSharding state : kStates) {
        if (base.split.data == 1 && state != StateSharding::kNone) continue;
        const RoleList& list = data[base.data_list];
        const int64_t extent =
            list.empty() ? 1 : PartOf(facts.roles()[list[0]].extent, base.split.data, 0);
        for (int64_t m = 1; m <= std::min(extent, kMostMicroBatches); ++m) {
          if (extent % m != 0 || (base.split.stages > 1 && m < base.split.stages)) continue;
          const Candidate candidate = make(base, mode, state, m, data, model);
          if (!allowed(candidate, state)) continue;
          const size_t before = fitting.size();
          const EvaluatedCandidate* evaluated = evaluate(candidate);
          if (evaluated == nullptr) continue;
          if (fitting.size() > before) {
            best = std::min(best, evaluated->cost.seconds);
            if (base.split.stages == 1) break;  // more micro-batches are no faster
          }
        }
      }
    }
  }
  std::stable_sort(fitting.begin(), fitting.end(),
                   [](const auto& a, const auto& b) { return a.cost.seconds < b.cost.seconds; });
  std::stable_sort(others.begin(), others.end(), [](const auto& a, const auto& b) {
    return a.cost.total_bytes() < b.cost.total_bytes();
  });
  result.candidates = std::move(fitting);
  result.candidates.insert(result.candidates.end(), others.begin(), others.end());
  if (result.candidates.empty()) {
    return absl::InvalidArgumentError("no plan satisfies the constraints");
  }
  return result;
}

int64_t SearchSpace::BatchPerDevice(const Candidate& candidate) const {
  if (candidate.time_roles.empty()) return 1;
  const GraphFacts& facts = *facts_[size_t(candidate.recompute)];
  int64_t extent = facts.roles()[candidate.time_roles[0]].extent;
  for (size_t i = 0; i < candidate.axes.size(); ++i) {
    if (candidate.axis_names[i] == "data") extent = PartOf(extent, candidate.axes[i].extent, 0);
  }
  return PartOf(extent, candidate.micro_batches, 0);
}

bool SearchSpace::Trains() const {
  const GraphFacts& facts = *facts_[0];
  for (uint32_t node = 0; node < facts.graph().nodes.size(); ++node) {
    if (facts.update(node)) return true;
  }
  return false;
}

std::string SearchSpace::Describe(const Candidate& candidate) const {
  const GraphFacts& facts = *facts_[size_t(candidate.recompute)];
  std::vector<std::string> words;
  if (candidate.stages > 1) {
    words.push_back(
        absl::StrCat("stages=", candidate.stages, " of ", candidate.virtual_stages, " chunks"));
  }
  for (size_t i = 0; i < candidate.axes.size(); ++i) {
    const AxisPolicy& axis = candidate.axes[i];
    std::vector<std::string> roles;
    for (RoleId role : axis.roles) roles.push_back(facts.roles()[role].name);
    words.push_back(absl::StrCat(candidate.axis_names[i], "=", axis.extent, " (",
                                 absl::StrJoin(roles, ", "), ")"));
    if (axis.state != StateSharding::kNone) {
      words.push_back(absl::StrCat("state sharding ", int(axis.state)));
    }
  }
  if (words.empty()) words.push_back("one device");
  words.push_back(absl::StrCat("micro-batches ", candidate.micro_batches));
  words.push_back(absl::StrCat("recomputation ", Name(candidate.recompute)));
  return absl::StrJoin(words, "; ");
}

}  // namespace moai
