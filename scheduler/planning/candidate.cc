#include "scheduler/planning/candidate.h"

#include <algorithm>

namespace moai {
namespace {

// A tensor axis that light nodes split along what comes with the step: sequence parallelism.
bool SplitsValuesOfTensorAxis(const GraphFacts& facts, const AxisPolicy& policy) {
  const auto in_feeds = [&](RoleId role) { return facts.roles()[role].in_feeds; };
  return !policy.roles.empty() && !in_feeds(policy.roles[0]) &&
         std::any_of(policy.roles.begin(), policy.roles.end(), in_feeds);
}

}  // namespace

const AxisAssignment& Assignments::Of(const GraphFacts& facts, const AxisPolicy& policy) {
  const auto [entry, added] = known_.try_emplace({policy.extent, policy.time, policy.sums_apart,
                                                  policy.roles, int(policy.state), policy.taken});
  if (added) entry->second = AssignAxis(facts, policy);
  return entry->second;
}

void AddAxes(const GraphFacts& facts, const Candidate& candidate, Assignments& assignments,
             PartitionRequest& request) {
  for (size_t axis = 0; axis < candidate.axes.size(); ++axis) {
    request.mesh.axes.push_back({candidate.axis_names[axis], candidate.axes[axis].extent});
    AxisPolicy policy = candidate.axes[axis];
    for (size_t other = 0; other < candidate.axes.size(); ++other) {
      const std::vector<RoleId>& roles = candidate.axes[other].roles;
      if (other == axis || policy.state == StateSharding::kNone) continue;
      policy.taken.insert(policy.taken.end(), roles.begin(), roles.end());
    }
    request.scatter_terms |= policy.state >= StateSharding::kGradients;
    request.gather_again |= policy.state == StateSharding::kParameters;
    request.gather_values_again |= SplitsValuesOfTensorAxis(facts, policy);
    const AxisAssignment& assignment = assignments.Of(facts, policy);
    for (size_t i = 0; i < request.inputs.size(); ++i) {
      request.inputs[i].push_back(assignment.inputs[i]);
    }
    for (size_t i = 0; i < request.outputs.size(); ++i) {
      request.outputs[i].push_back(assignment.outputs[i]);
    }
    request.strategies.push_back(assignment.nodes);
  }
  request.turn = facts.turn();
  if (candidate.micro_batches > 1) {
    AxisPolicy time{.extent = candidate.micro_batches,
                    .time = true,
                    .sums_apart = candidate.stages > 1,
                    .roles = candidate.time_roles};
    request.strategies.push_back(assignments.Of(facts, time).nodes);
  }
}

}  // namespace moai
