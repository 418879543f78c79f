// Costs candidates by a graph of few blocks, each block that stands for others as often as it does.
#ifndef MOAI_SCHEDULER_PLANNING_REDUCED_SPACE_H_
#define MOAI_SCHEDULER_PLANNING_REDUCED_SPACE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/candidate.h"
#include "scheduler/planning/evaluate.h"
#include "scheduler/planning/graph_facts.h"
#include "scheduler/planning/reduced_graph.h"
#include "scheduler/planning/stage_sample.h"

namespace moai {

// Not thread-safe.
class ReducedSpace {
 public:
  // Null where nothing repeats, or what repeats plays other roles than in the whole. The facts of
  // the whole graph outlive it.
  static std::unique_ptr<ReducedSpace> Make(const GraphFacts& whole);

  // A candidate in the roles of the whole graph. Differs from the evaluation of the whole where
  // blocks touch what is outside, and by what kernels and collectives overlap there.
  absl::StatusOr<StepCost> Evaluate(const Cluster& cluster, const Candidate& candidate,
                                    Overlap overlap);

 private:
  // A value that one stage hands to another, so often.
  struct Transfer {
    uint32_t from = 0, to = 0;
    ValueId value = 0;
    bool forward = false;  // to a later chunk
    double count = 0;
  };
  // What the sample stands for in each stage of the whole graph.
  struct Division {
    std::vector<StageWeights> stages;
    std::vector<Transfer> transfers;
  };
  // The sample evaluated last: chunks of a pipeline share it.
  struct Sampled {
    Candidate candidate;
    PartitionedGraph partitioned;
    bool barrier = false;  // between micro-batches
    std::optional<StageSample> sample;
  };

  explicit ReducedSpace(const GraphFacts& whole) : whole_(whole) {}

  bool MapRoles();
  std::vector<RoleId> Mapped(const std::vector<RoleId>& roles) const;
  absl::StatusOr<const Division*> DivisionOf(int64_t stages, int64_t virtual_stages);
  absl::StatusOr<const Sampled*> SampleOf(const Cluster& cluster, const Candidate& candidate,
                                          Overlap overlap);

  const GraphFacts& whole_;
  ReducedGraph reduced_;
  std::optional<GraphFacts> facts_;  // of the reduced graph
  std::vector<RoleId> role_of_;      // by role of the whole
  Assignments assignments_;
  std::map<std::pair<int64_t, int64_t>, absl::StatusOr<Division>> divisions_;
  std::unique_ptr<Sampled> last_;
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_REDUCED_SPACE_H_
