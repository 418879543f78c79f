// The training step of a session, kept for those who ask how it is planned.
#ifndef MOAI_SERVER_STEP_RECORD_H_
#define MOAI_SERVER_STEP_RECORD_H_

#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "scheduler/planner.h"
#include "scheduler/report/running_step.h"

namespace moai {

// Thread-safe.
class StepRecord {
 public:
  // Keeps the step unless it is less than half of the one that is kept: what is evaluated now and
  // then does not count, and a first step, which makes its state as well, gives way to the second.
  void Note(RunningStep step) {
    MutexLock lock(mutex_);
    if (step_.has_value() && 2 * step.graph->nodes.size() < step_->graph->nodes.size()) return;
    step_ = std::move(step);
  }
  // Nothing before the first plan.
  std::optional<RunningStep> Get() const {
    MutexLock lock(mutex_);
    return step_;
  }

 private:
  mutable Mutex mutex_;
  std::optional<RunningStep> step_ ABSL_GUARDED_BY(mutex_);
};

// A session's way to the planner: notes what is planned for it.
class RecordingPlanner : public Planner {
 public:
  // `planner` outlives this.
  explicit RecordingPlanner(Planner* planner) : planner_(planner) {}

  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    absl::StatusOr<std::shared_ptr<const Plan>> plan = planner_->MakePlan(request);
    if (plan.ok()) {
      record_->Note({.graph = request.graph,
                     .sizes = {request.sizes.begin(), request.sizes.end()},
                     .devices = {request.devices.begin(), request.devices.end()},
                     .other_bytes = request.other_bytes,
                     .buckets = request.buckets,
                     .plan = (*plan)->explanation});
    }
    return plan;
  }

  std::shared_ptr<const StepRecord> record() const { return record_; }

 private:
  Planner* const planner_;
  const std::shared_ptr<StepRecord> record_ = std::make_shared<StepRecord>();
};

}  // namespace moai

#endif  // MOAI_SERVER_STEP_RECORD_H_
