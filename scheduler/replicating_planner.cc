#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/fit.h"
#include "scheduler/planner.h"

namespace moai {
namespace {

class ReplicatingPlanner : public Planner {
 public:
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    const size_t devices = request.devices.size();
    if (devices == 0) return absl::InvalidArgumentError("a session without devices");
    PlanRequest first = request;
    first.devices = request.devices.first(1);
    MOAI_ASSIGN_OR_RETURN(std::shared_ptr<const Plan> one, one_device_->MakePlan(first));
    if (devices == 1) return one;
    auto plan = std::make_shared<Plan>(*one);
    plan->parts.assign(devices, one->parts[0]);
    plan->memory.assign(devices, one->memory[0]);
    const Layout everywhere = Replicated({{{"devices", int64_t(devices)}}});
    plan->slot_layouts.assign(plan->slot_layouts.size(), everywhere);
    plan->value_layouts.assign(plan->value_layouts.size(), everywhere);
    plan->output_layouts.assign(plan->output_layouts.size(), everywhere);
    plan->instructions *= devices;
    plan->explanation = absl::StrCat("the whole graph on each of ", devices, " devices; on each ",
                                     one->explanation);
    return plan;
  }

 private:
  const std::unique_ptr<Planner> one_device_ = MakeOneDevicePlanner();
};

}  // namespace

std::unique_ptr<Planner> MakeReplicatingPlanner() { return std::make_unique<ReplicatingPlanner>(); }

}  // namespace moai
