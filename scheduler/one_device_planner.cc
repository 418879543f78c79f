#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/fit.h"
#include "scheduler/planner.h"

namespace moai {
namespace {

class OneDevicePlanner : public Planner {
 public:
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    if (request.devices.size() != 1) {
      return absl::UnimplementedError(
          absl::StrCat("this planner plans for one device, not ", request.devices.size()));
    }
    MOAI_ASSIGN_OR_RETURN(Program program,
                          InstantiateProgram(*request.compiled, request.sizes, request.types,
                                             DeviceShape{request.devices[0].threads}));
    const StepMemory memory = StepMemoryOf(program);
    auto plan = std::make_shared<Plan>();
    plan->parts = {{request.graph, Sizes(request.sizes.begin(), request.sizes.end()), {}, {}}};
    plan->memory = {memory};
    plan->slot_layouts.resize(program.slot_types.size());
    plan->value_layouts.resize(program.value_types.size());
    plan->output_layouts.resize(program.output_types.size());
    plan->slot_types = std::move(program.slot_types);
    plan->slot_created = std::move(program.slot_created);
    plan->value_types = std::move(program.value_types);
    plan->feed_types = std::move(program.feed_types);
    plan->output_types = std::move(program.output_types);
    plan->instructions = program.instructions.size();
    plan->explanation = absl::StrCat("one device, ", plan->instructions, " instructions, ",
                                     ReadableBytes(memory.arena), " for temporaries, ",
                                     ReadableBytes(memory.fresh), " for results");
    return plan;
  }
};

}  // namespace

std::unique_ptr<Planner> MakeOneDevicePlanner() { return std::make_unique<OneDevicePlanner>(); }

}  // namespace moai
