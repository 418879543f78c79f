// A planned step as a timeline that opens in Perfetto.
#ifndef MOAI_TOOLS_PLAN_TIMELINE_H_
#define MOAI_TOOLS_PLAN_TIMELINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/search.h"

namespace moai {

// Simulates the step on one device of each pipeline stage, which stands for those beside it, and
// writes the trace. Of one stage every kernel and collective of a micro-batch is shown; of several,
// each micro-batch's way through each chunk, forwards and backwards, in the order of 1F1B. The
// seconds of a chunk's forward and backward pass are its stage's, shared by their arithmetic.
// Returns the simulated seconds of the step.
absl::StatusOr<double> WriteTimeline(const Cluster& cluster, const SearchSpace& space,
                                     const Candidate& candidate, const std::string& path);

}  // namespace moai

#endif  // MOAI_TOOLS_PLAN_TIMELINE_H_
