// A plan that somebody states in the words of other systems (tensor, pipeline, data and context
// parallel sizes), as candidates of the search space.
#ifndef MOAI_SCHEDULER_PLANNING_STATED_PLAN_H_
#define MOAI_SCHEDULER_PLANNING_STATED_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "scheduler/planning/search.h"

namespace moai {

// Whether light nodes that the tensor axis leaves whole are split along what comes with the step
// (Megatron's "sequence parallelism"). Plans seldom state it.
enum class LightNodes : uint8_t { kEither, kWhole, kSplit };

struct StatedPlan {
  int64_t data = 1;     // replicas that share the samples
  int64_t context = 1;  // devices that share each sample's sequence
  int64_t model = 1;    // devices that share each op: "tensor parallel"
  int64_t stages = 1;
  int64_t virtual_stages = 1;
  int64_t micro_batches = 1;
  StateSharding state = StateSharding::kNone;
  // Neighbours among the replicas over which state is split; 0: all of them.
  int64_t state_group = 0;
  RecomputeMode recompute = RecomputeMode::kNone;
  LightNodes light = LightNodes::kEither;
};

// Every candidate that the words may mean: which roles the tensor axis splits is not stated, and
// whoever evaluates takes the fastest. The data axis splits the role of the feeds that covers most
// arithmetic, the context axis the one after it. `facts`: of the graph of `plan.recompute`.
// InvalidArgument where the samples do not divide over replicas and micro-batches, the graph has no
// sequence to share, or nothing in it can be split by the tensor axis.
absl::StatusOr<std::vector<Candidate>> CandidatesFor(const GraphFacts& facts,
                                                     const StatedPlan& plan);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_STATED_PLAN_H_
