#include "scheduler/planning/search.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "scheduler/planning/grow_roles.h"
#include "scheduler/planning/micro_batch_barrier.h"
#include "scheduler/planning/pipeline.h"

namespace moai {
namespace {

constexpr RecomputeMode kModes[] = {RecomputeMode::kNone, RecomputeMode::kSelective,
                                    RecomputeMode::kFull};

}  // namespace

int SequenceSplit(const GraphFacts& facts, const std::vector<RoleId>& roles) {
  for (size_t i = 0; i < roles.size(); ++i) {
    if (facts.roles()[roles[i]].in_feeds) return i > 0 && i + 1 == roles.size() ? 1 : 2;
  }
  return 0;
}

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
      space.assignments_.push_back(space.assignments_[0]);
      space.reduced_.push_back(space.reduced_[0]);
      continue;
    }
    MOAI_ASSIGN_OR_RETURN(GraphFacts facts,
                          GraphFacts::Make(graph->graph, graph->sizes, graph->types));
    space.graphs_.push_back(std::move(graph));
    space.facts_.push_back(std::make_shared<const GraphFacts>(std::move(facts)));
    space.assignments_.push_back(std::make_shared<Assignments>());
    space.reduced_.push_back(request.whole_graph ? nullptr
                                                 : ReducedSpace::Make(*space.facts_.back()));
  }
  return space;
}

std::vector<SearchSpace::RoleList> SearchSpace::GrowLists(const GraphFacts& facts,
                                                          bool data) const {
  const double total = facts.total_flops();
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
    for (const bool tensor : {false, true}) {
      if (tensor && (data || facts.roles()[seed].in_feeds)) continue;
      if (!tensor && !data && request_.constraints.tensor) continue;
      const RoleList list = GrowRoles(facts, seed, tensor, /*least_extent=*/2);
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
  }
  if (const int fixed = request_.constraints.experts; !data && fixed >= 0) {
    const auto other = [&](const RoleList& list) {
      return facts.roles()[list[0]].own_weights != (fixed == 1);
    };
    lists.erase(std::remove_if(lists.begin(), lists.end(), other), lists.end());
  }
  if (const int fixed = request_.constraints.sequence; !data && fixed >= 0) {
    const auto other = [&](const RoleList& list) { return SequenceSplit(facts, list) != fixed; };
    lists.erase(std::remove_if(lists.begin(), lists.end(), other), lists.end());
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
  request.bucket_bytes = request_.bucket_bytes;
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
  AddAxes(facts, candidate, *assignments_[size_t(candidate.recompute)], request);
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
                   .virtual_stages = candidate.virtual_stages,
                   .barrier = candidate.micro_batches > 1 &&
                              HasMicroBatchBarrier(*request.graph, partitioned)});
}

absl::StatusOr<StepCost> SearchSpace::EstimateCandidate(const Candidate& candidate) const {
  const std::shared_ptr<ReducedSpace>& reduced = reduced_[size_t(candidate.recompute)];
  if (reduced == nullptr) return EvaluateCandidate(candidate);
  return reduced->Evaluate(*request_.cluster, candidate, request_.overlap);
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
