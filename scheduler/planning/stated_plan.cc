#include "scheduler/planning/stated_plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/planning/grow_roles.h"

namespace moai {
namespace {

using RoleList = std::vector<RoleId>;

constexpr double kNearlyAll = 0.8;

// Roles of what comes with each step: samples first, then those that cover most arithmetic. Samples
// are the outermost dim that covers about as much as any: where attention is made of products, the
// sequence covers a little more.
RoleList FeedRoles(const GraphFacts& facts) {
  RoleList roles;
  for (const Input& input : facts.graph().inputs) {
    if (input.kind != InputKind::kFeed && input.kind != InputKind::kValue) continue;
    for (int dim = 0; dim < facts.types()[input.value].shape.rank(); ++dim) {
      for (const FactorPlace& place : facts.factors().Of(input.value, dim)) {
        const RoleId role = facts.role(place.factor);
        if (std::find(roles.begin(), roles.end(), role) == roles.end()) roles.push_back(role);
      }
    }
  }
  double most = 0;
  for (RoleId role : roles) most = std::max(most, facts.roles()[role].flops);
  const auto samples = std::find_if(roles.begin(), roles.end(), [&](RoleId role) {
    return facts.roles()[role].flops >= kNearlyAll * most;
  });
  if (samples == roles.end()) return roles;
  std::rotate(roles.begin(), samples, samples + 1);
  std::stable_sort(roles.begin() + 1, roles.end(), [&](RoleId a, RoleId b) {
    return facts.roles()[a].flops > facts.roles()[b].flops;
  });
  return roles;
}

// Lists for the tensor axis, each with and without the sequence for light nodes.
std::vector<RoleList> ModelLists(const GraphFacts& facts, const StatedPlan& plan,
                                 const RoleList& feeds) {
  std::vector<RoleList> lists;
  std::set<std::set<RoleId>> known;
  for (RoleId role = 0; role < facts.roles().size(); ++role) {
    const Role& r = facts.roles()[role];
    if (r.in_feeds || r.extent < plan.model || r.flops < kSeedShare * facts.total_flops()) continue;
    RoleList list = GrowRoles(facts, role, /*tensor=*/true, plan.model);
    if (known.insert(std::set<RoleId>(list.begin(), list.end())).second) {
      lists.push_back(std::move(list));
    }
  }
  const size_t whole = plan.light == LightNodes::kSplit ? 0 : lists.size();
  std::vector<RoleList> all(lists.begin(), lists.begin() + ptrdiff_t(whole));
  if (plan.light != LightNodes::kWhole && feeds.size() > 1) {
    for (RoleList list : lists) {
      list.push_back(feeds[1]);
      all.push_back(std::move(list));
    }
  }
  return all;
}

}  // namespace

absl::StatusOr<std::vector<Candidate>> CandidatesFor(const GraphFacts& facts,
                                                     const StatedPlan& plan) {
  const RoleList feeds = FeedRoles(facts);
  if (feeds.empty()) return absl::InvalidArgumentError("nothing comes with each step");
  const int64_t samples = facts.roles()[feeds[0]].extent;
  if (samples % (plan.data * plan.micro_batches) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(samples, " samples do not divide over ",
                                                   plan.data, " replicas and ", plan.micro_batches,
                                                   " micro-batches"));
  }
  Candidate base;
  base.recompute = plan.recompute;
  base.micro_batches = plan.micro_batches;
  base.time_roles = {feeds[0]};
  base.stages = plan.stages;
  base.virtual_stages = plan.virtual_stages;
  const auto add = [](Candidate& candidate, const char* name, AxisPolicy axis) {
    if (axis.extent < 2) return;
    candidate.axes.push_back(std::move(axis));
    candidate.axis_names.push_back(name);
  };
  const bool grouped = plan.state_group > 0 && plan.state_group < plan.data;
  if (grouped && plan.data % plan.state_group != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("groups of ", plan.state_group, " do not divide ", plan.data, " replicas"));
  }
  const int64_t group = grouped ? plan.state_group : plan.data;
  add(base, "replica", {.extent = plan.data / group, .roles = {feeds[0]}});
  add(base, "data", {.extent = group, .roles = {feeds[0]}, .state = plan.state});
  if (plan.context > 1) {
    if (feeds.size() < 2) {
      return absl::InvalidArgumentError("the graph has no sequence to share");
    }
    add(base, "context",
        {.extent = plan.context,
         .roles = GrowRoles(facts, feeds[1], /*tensor=*/true, plan.context)});
  }
  if (plan.model < 2) return std::vector<Candidate>{base};
  std::vector<Candidate> candidates;
  for (RoleList& list : ModelLists(facts, plan, feeds)) {
    candidates.push_back(base);
    add(candidates.back(), "model", {.extent = plan.model, .roles = std::move(list)});
  }
  if (candidates.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("nothing that covers the arithmetic can be split ", plan.model, " ways"));
  }
  return candidates;
}

}  // namespace moai
