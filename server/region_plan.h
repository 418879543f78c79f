// How two steps that follow each other are run as one region: one plan for both, of which each step
// runs its part.
#ifndef MOAI_SERVER_REGION_PLAN_H_
#define MOAI_SERVER_REGION_PLAN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "scheduler/planner.h"
#include "scheduler/region/join_graphs.h"
#include "scheduler/region/split_graph.h"
#include "server/graph_registry.h"

namespace moai {

// What the devices run for one of the two steps.
struct PlannedHalf {
  RegionHalf half;
  LoadedParts loaded;
  std::vector<StepMemory> memory;  // by device
  // What the executors remember.
  bool executor_has_slots = false;
  std::vector<Scalar> executor_scalars;
};

struct RegionPlan {
  JoinedGraph joined;
  std::shared_ptr<const Plan> plan;  // of the joined graph
  std::vector<uint64_t> slots;       // ids, by binding of the joined graph
  size_t early_outputs = 0;          // of the joined graph's value outputs, the first
  PlannedHalf early, late;
  size_t crossing = 0;                  // values that the late part takes from the early one
  std::vector<int64_t> crossing_bytes;  // by device
  std::vector<int64_t> deferred_bytes;  // what the first step alone would leave there
  // Of the plan, as the session numbers them; empty until it has.
  std::vector<LayoutId> slot_layouts, value_layouts, output_layouts;
  bool layouts_known = false;
  // The slots lie as the plan wants them while the object table's slots_version is this.
  uint64_t arranged_version = 0;
};

struct RegionRequest {
  const RegisteredGraph* first = nullptr;  // both at the sizes of their last step
  const RegisteredGraph* second = nullptr;
  const RegionBindings* bindings = nullptr;
  // By scalar of the second: not known before its step comes.
  std::vector<bool> changing;
  Planner* planner = nullptr;
  absl::Span<const DeviceProfile> devices;
  absl::Span<const PlannedSize> larger;
  int64_t other_bytes = 0;
};

// FailedPrecondition where nothing is gained: what the second step would have to wait with, because
// it depends on what comes with it, needs more of the first than the first alone would leave.
absl::StatusOr<std::unique_ptr<RegionPlan>> MakeRegionPlan(const RegionRequest& request);

}  // namespace moai

#endif  // MOAI_SERVER_REGION_PLAN_H_
