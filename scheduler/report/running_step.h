// The report on a step that a session runs: as moai-plan's, of the session's own devices.
#ifndef MOAI_SCHEDULER_REPORT_RUNNING_STEP_H_
#define MOAI_SCHEDULER_REPORT_RUNNING_STEP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "scheduler/pool.h"
#include "scheduler/report/report.h"

namespace moai {

struct RunningStep {
  std::shared_ptr<const Graph> graph;
  Sizes sizes;
  std::vector<DeviceProfile> devices;  // of the session, in its order
  int64_t other_bytes = 0;             // PlanRequest::other_bytes, buckets
  bool buckets = true;
  std::string plan;  // what was chosen for it: Plan::explanation
};

// Plans the step again, under the constraints that it was planned under. A captured step says what
// its slots are, a session's does not: state that the step replaces counts as a parameter where the
// forward pass reads it, else as the optimizer's. Samples are the outermost dim of the first feed,
// tokens the elements of a feed of ids. `name` is the program's, for people.
absl::StatusOr<PlanReport> ReportOf(const RunningStep& step, const std::string& name,
                                    const SearchConstraints& constraints);

}  // namespace moai

#endif  // MOAI_SCHEDULER_REPORT_RUNNING_STEP_H_
