// What is said about the plan of one step on one cluster: plain data, made from the search's
// result.
#ifndef MOAI_SCHEDULER_REPORT_REPORT_H_
#define MOAI_SCHEDULER_REPORT_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/captured_step.h"
#include "scheduler/planning/lower_bound.h"
#include "scheduler/planning/search.h"

namespace moai {

// Bytes of one device: of the pipeline stage that needs most.
struct DeviceMemory {
  int64_t parameters = 0;
  int64_t optimizer = 0;
  int64_t other_state = 0;  // buffers, tables of constants
  int64_t working = 0;      // gradients, activations, feeds, results: at the worst moment
  int64_t total() const { return parameters + optimizer + other_state + working; }
};

// One plan of the space and what is predicted of it.
struct PlanLine {
  std::string description;  // SearchSpace::Describe
  double seconds = 0;
  int64_t bytes = 0;  // of a device
};

struct PlanSummary {
  bool fits = false;
  std::string description;
  // In the words that people of this platform know.
  int64_t num_stages = 1;
  int64_t virtual_stages = 1;
  int64_t num_micro_batches = 1;
  int64_t batch_per_device = 1;  // samples of one micro-batch on one device, rounded up
  int64_t data = 1;              // devices that share the samples
  int64_t model = 1;             // devices that share each op
  std::string recomputation;     // "none", "selective", "full"
  int state_sharding = 0;        // StateSharding, as a number: ZeRO 0 to 3
  bool distribute_param = false;
  StepCost cost;
  DeviceMemory memory;
  double samples_per_second = 0;
  double tokens_per_second = 0;  // 0 where the model has no tokens
  // Arithmetic of the captured step, each op once, as a share of the devices' peaks.
  double mfu = 0;
};

struct PlanReport {
  std::string model;
  std::string cluster;
  int64_t devices = 1;
  int64_t samples = 0;
  int64_t tokens = 0;
  int64_t parameters = 0;
  int64_t device_bytes = 0;
  PlanSummary chosen;
  std::optional<PlanSummary> stated;  // what --force asks for
  std::string stated_error;           // why there is none
  std::vector<PlanLine> slower;       // fit, and are not the fastest; best first
  std::vector<PlanLine> too_large;    // predicted to be faster than the chosen one, but do not fit
  size_t evaluated = 0;
  size_t feasible = 0;
  LowerBound bound;
  double planning_seconds = 0;
  double planning_processor_seconds = 0;  // less where others use the machine too
};

struct ReportOptions {
  int64_t devices = 1;
  int64_t most_stages = 64;
  size_t most_lines = 5;  // of `slower` and of `too_large`
};

// What is planned, and what a request points to. Outlives every SearchSpace made of it.
struct PlanningInput {
  CapturedStep step;
  std::vector<TensorType> types;
  Cluster cluster;

  SearchRequest RequestFor(const ReportOptions& options) const;
};

absl::StatusOr<PlanningInput> MakePlanningInput(CapturedStep step, Cluster cluster);

struct PlannedStep {
  SearchSpace space;
  SearchResult result;
  double seconds = 0;            // that it took
  double processor_seconds = 0;  // of this process
};

// Searches. InvalidArgument where the cluster has fewer devices, or nothing satisfies the
// constraints. The input outlives the result.
absl::StatusOr<PlannedStep> PlanStep(const PlanningInput& input, const ReportOptions& options,
                                     const SearchConstraints& constraints = {});
// The same for a request as it is; what it points to outlives the result.
absl::StatusOr<PlannedStep> PlanStep(const SearchRequest& request);

// Where nothing fits the smallest plan is the chosen one, with `fits` false. `stated`: a search
// under constraints, or why it found nothing; null where nobody stated any.
absl::StatusOr<PlanReport> MakeReport(const PlanningInput& input, const ReportOptions& options,
                                      const PlannedStep& planned,
                                      const absl::StatusOr<PlannedStep>* stated = nullptr);

// One row for each of 1, 2, 4 ... `devices`.
struct FlavorRow {
  int64_t devices = 1;
  std::optional<PlanSummary> plan;
  std::string error;  // why there is no plan
};
std::vector<FlavorRow> CompareFlavors(const PlanningInput& input, const ReportOptions& options);

}  // namespace moai

#endif  // MOAI_SCHEDULER_REPORT_REPORT_H_
