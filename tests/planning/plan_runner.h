// Runs captured training steps under a plan, in the reference interpreter.
#ifndef MOAI_TESTS_PLANNING_PLAN_RUNNER_H_
#define MOAI_TESTS_PLANNING_PLAN_RUNNER_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/captured_step.h"
#include "graph/interpreter.h"
#include "scheduler/partition/partitioner.h"

namespace moai {

// Contents for the graph's inputs: ids below `ids`, small weights, moments as training leaves them.
std::vector<ReferenceTensor> StepBindings(const CapturedStep& step, int64_t ids, uint64_t seed);

struct PlanRun {
  std::vector<ReferenceTensor> outputs;    // of the whole graph
  std::map<std::string, int> collectives;  // by op, of one device
};

// What all devices give together, put together again.
absl::StatusOr<PlanRun> RunPartitioned(const PartitionRequest& request,
                                       const std::vector<ReferenceTensor>& bindings,
                                       double tolerance);

}  // namespace moai

#endif  // MOAI_TESTS_PLANNING_PLAN_RUNNER_H_
