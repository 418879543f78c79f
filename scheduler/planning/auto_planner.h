// The planner for sessions of any number of devices: searches, partitions, and keeps the first of
// the best candidates whose programs fit, by their own memory maps.
#ifndef MOAI_SCHEDULER_PLANNING_AUTO_PLANNER_H_
#define MOAI_SCHEDULER_PLANNING_AUTO_PLANNER_H_

#include <memory>

#include "scheduler/cost/topology.h"
#include "scheduler/planner.h"
#include "scheduler/planning/search.h"

namespace moai {

struct AutoPlannerOptions {
  // What is fixed for every graph with heavy nodes: for tests and experiments.
  SearchConstraints constraints;
};

// What a session's step is searched with, but for constraints. The result points to what the
// request points to, and to `cluster`: LocalCluster of the request's devices.
SearchRequest SessionSearch(const PlanRequest& request, const Cluster& cluster);

// Thread-safe.
std::unique_ptr<Planner> MakeAutoPlanner(const AutoPlannerOptions& options = {});

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_AUTO_PLANNER_H_
