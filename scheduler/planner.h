// Decides how a graph runs on the devices of a session;
// what runs where, and what it needs, is all that callers see of a plan.
#ifndef MOAI_SCHEDULER_PLANNER_H_
#define MOAI_SCHEDULER_PLANNER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "program/allocation.h"
#include "program/compile.h"
#include "program/device_graph.h"
#include "scheduler/placement.h"
#include "scheduler/pool.h"

namespace moai {

// A size that a user might switch to: so many devices of so much memory.
struct PlannedSize {
  std::string name;
  int64_t devices = 1;
  int64_t memory_bytes = 0;
};

struct PlanRequest {
  std::shared_ptr<const Graph> graph;         // verified
  const ProgramTemplate* compiled = nullptr;  // of the same graph
  absl::Span<const int64_t> sizes;
  absl::Span<const TensorType> types;       // of every value: InferGraph's
  absl::Span<const DeviceProfile> devices;  // of the session
  // Of a device, at most: what is alive beside the graph's bindings.
  int64_t other_bytes = 0;
  // Gradients may be summed several at a time. Not in a region (scheduler/region): what crosses
  // there grows in its own memory.
  bool buckets = true;
  // What a refusal may name, smallest first.
  absl::Span<const PlannedSize> larger;
};

// One graph at one size vector. Immutable.
struct Plan {
  // Per device of the session: what it runs, and what that takes.
  std::vector<DeviceGraph> parts;
  std::vector<StepMemory> memory;
  // How the bindings must lie before the step, and how its results will. A replaced slot stays as
  // it lies. Feeds are whole on every device.
  std::vector<Layout> slot_layouts;
  std::vector<Layout> value_layouts;
  std::vector<Layout> output_layouts;
  // What the step's bindings must be, and what it makes, as the client sees them.
  std::vector<TensorType> slot_types;
  std::vector<bool> slot_created;
  std::vector<TensorType> value_types;
  std::vector<TensorType> feed_types;
  std::vector<TensorType> output_types;
  size_t instructions = 0;  // of all programs: what the plan costs to keep
  std::string explanation;  // for people
  // Lines for the person at the terminal, when the plan is used for the first time.
  std::vector<std::string> notices;
};

// Thread-safe.
class Planner {
 public:
  virtual ~Planner() = default;
  // InvalidArgument where the graph cannot run at these sizes; ResourceExhausted where it could not
  // fit even with nothing else alive.
  virtual absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) = 0;
};

// Runs the whole graph on the session's only device: for tests of what is not about planning.
std::unique_ptr<Planner> MakeOneDevicePlanner();

// Runs the whole graph on each of the session's devices: all make the same results. Nothing is
// gained by it; tests compare other plans with it.
std::unique_ptr<Planner> MakeReplicatingPlanner();

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNER_H_
