// One point of the space of plans, and what it asks of the partitioner.
#ifndef MOAI_SCHEDULER_PLANNING_CANDIDATE_H_
#define MOAI_SCHEDULER_PLANNING_CANDIDATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "scheduler/partition/partitioner.h"
#include "scheduler/planning/assign.h"
#include "scheduler/planning/recompute.h"

namespace moai {

// Axes are in the order of the mesh: the last joins neighbours.
struct Candidate {
  std::vector<AxisPolicy> axes;
  std::vector<std::string> axis_names;
  int64_t micro_batches = 1;
  std::vector<RoleId> time_roles;
  RecomputeMode recompute = RecomputeMode::kNone;
  // Pipeline stages: an axis of its own, before the others. Chunks a stage has: more than one is
  // the interleaved schedule.
  int64_t stages = 1;
  int64_t virtual_stages = 1;
};

// Assignments of one graph: many candidates share their axes. Not thread-safe.
class Assignments {
 public:
  // The facts outlive it, and it outlives every request made with it.
  const AxisAssignment& Of(const GraphFacts& facts, const AxisPolicy& policy);

 private:
  std::map<std::tuple<int64_t, bool, bool, std::vector<RoleId>, int, std::vector<RoleId>>,
           AxisAssignment>
      known_;
};

// Adds the candidate's axes and time to a request for the facts' graph. Stages are the caller's.
void AddAxes(const GraphFacts& facts, const Candidate& candidate, Assignments& assignments,
             PartitionRequest& request);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_CANDIDATE_H_
