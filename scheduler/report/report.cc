#include "scheduler/report/report.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/cost.h"
#include "graph/infer.h"

namespace moai {
namespace {

constexpr double kNoPeak = 0;

// Products and attention of the step, each once: what MFU counts.
double ModelFlops(const PlanningInput& input) {
  const Graph& graph = *input.step.graph;
  double flops = 0;
  std::vector<TensorType> inputs;
  for (const Node& node : graph.nodes) {
    const bool attention = node.op == Op::kAttention || node.op == Op::kAttentionGrad;
    if (Entry(node.op).op_class != OpClass::kMatmul && !attention) continue;
    inputs.clear();
    for (ValueId value : node.inputs) inputs.push_back(input.types[value]);
    const auto outputs =
        absl::MakeConstSpan(input.types).subspan(node.first_output, node.output_count);
    flops += CostOf(node, inputs, outputs).flops;
  }
  return flops;
}

// The peak for the dtype in which most of the arithmetic is done.
double PeakFlops(const PlanningInput& input) {
  double bf16 = 0, all = 0;
  for (const Node& node : input.step.graph->nodes) {
    if (Entry(node.op).op_class != OpClass::kMatmul) continue;
    const Dtype dtype = input.types[node.inputs[0]].dtype;
    ++all;
    if (dtype == Dtype::kBF16 || dtype == Dtype::kF16) ++bf16;
  }
  const DeviceModel& device = input.cluster.device;
  return device.peak(MathFor(device, 2 * bf16 > all ? Dtype::kBF16 : Dtype::kF32));
}

// State by the role of its slots, of the stage that has most.
absl::StatusOr<DeviceMemory> MemoryOf(const PlanningInput& input, const SearchSpace& space,
                                      const EvaluatedCandidate& evaluated) {
  MOAI_ASSIGN_OR_RETURN(const PartitionRequest request,
                        space.RequestFor(evaluated.candidate, /*sample=*/true));
  MOAI_ASSIGN_OR_RETURN(const PartitionedGraph partitioned, Partition(request));
  DeviceMemory best;
  int64_t nearest = -1;
  for (const DeviceGraph& part : partitioned.parts) {
    MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(*part.graph, part.sizes));
    DeviceMemory memory;
    for (const Input& in : part.graph->inputs) {
      if (in.kind != InputKind::kSlot) continue;
      const SlotRole role =
          in.index < input.step.slots.size() ? input.step.slots[in.index].role : SlotRole::kOther;
      int64_t& to = role == SlotRole::kParameter   ? memory.parameters
                    : role == SlotRole::kOptimizer ? memory.optimizer
                                                   : memory.other_state;
      to += types[in.value].bytes();
    }
    // The stage that the evaluation found to be the largest is the one with its amount of state.
    const int64_t distance = std::abs(memory.total() - evaluated.cost.state);
    if (nearest >= 0 && distance >= nearest) continue;
    nearest = distance;
    best = memory;
  }
  best.working = evaluated.cost.temporaries;
  return best;
}

absl::StatusOr<PlanSummary> Summarize(const PlanningInput& input, const SearchSpace& space,
                                      const EvaluatedCandidate& evaluated, int64_t devices) {
  const Candidate& candidate = evaluated.candidate;
  PlanSummary plan;
  plan.description = space.Describe(candidate);
  plan.num_stages = candidate.stages;
  plan.virtual_stages = candidate.virtual_stages;
  plan.num_micro_batches = candidate.micro_batches;
  for (size_t i = 0; i < candidate.axes.size(); ++i) {
    const AxisPolicy& axis = candidate.axes[i];
    (candidate.axis_names[i] == "data" ? plan.data : plan.model) *= axis.extent;
    plan.state_sharding = std::max(plan.state_sharding, int(axis.state));
  }
  const int64_t parts = plan.data * plan.num_micro_batches;
  plan.batch_per_device = (input.step.samples + parts - 1) / parts;
  plan.recomputation = std::string(Name(candidate.recompute));
  plan.distribute_param = plan.state_sharding == int(StateSharding::kParameters);
  plan.cost = evaluated.cost;
  plan.fits = plan.cost.total_bytes() <= int64_t(input.cluster.device.memory_bytes);
  MOAI_ASSIGN_OR_RETURN(plan.memory, MemoryOf(input, space, evaluated));
  if (plan.cost.seconds <= 0) return plan;
  plan.samples_per_second = double(input.step.samples) / plan.cost.seconds;
  plan.tokens_per_second = double(input.step.tokens) / plan.cost.seconds;
  const double peak = PeakFlops(input);
  if (peak > kNoPeak) {
    plan.mfu = ModelFlops(input) / (plan.cost.seconds * double(devices) * peak);
  }
  return plan;
}

PlanLine LineOf(const SearchSpace& space, const EvaluatedCandidate& evaluated) {
  return {space.Describe(evaluated.candidate), evaluated.cost.seconds,
          evaluated.cost.total_bytes()};
}

}  // namespace

SearchRequest PlanningInput::RequestFor(const ReportOptions& options) const {
  return {.graph = step.graph.get(),
          .sizes = step.sizes,
          .types = types,
          .cluster = &cluster,
          .devices = options.devices,
          .memory_bytes = int64_t(cluster.device.memory_bytes),
          .most_stages = std::min(options.most_stages, options.devices)};
}

absl::StatusOr<PlanningInput> MakePlanningInput(CapturedStep step, Cluster cluster) {
  PlanningInput input{.step = std::move(step), .cluster = std::move(cluster)};
  MOAI_ASSIGN_OR_RETURN(input.types, InferGraph(*input.step.graph, input.step.sizes));
  return input;
}

absl::StatusOr<PlannedStep> PlanStep(const PlanningInput& input, const ReportOptions& options,
                                     const SearchConstraints& constraints) {
  if (options.devices < 1 || options.devices > input.cluster.device_count()) {
    return absl::InvalidArgumentError(absl::StrCat("the cluster ", input.cluster.name, " has ",
                                                   input.cluster.device_count(),
                                                   " devices: cannot plan for ", options.devices));
  }
  SearchRequest request = input.RequestFor(options);
  request.constraints = constraints;
  request.most_stages = std::max(request.most_stages, constraints.stages);
  return PlanStep(request);
}

absl::StatusOr<PlannedStep> PlanStep(const SearchRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processor_start = std::clock();
  MOAI_ASSIGN_OR_RETURN(SearchSpace space, SearchSpace::Make(request));
  MOAI_ASSIGN_OR_RETURN(SearchResult result, space.Search());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const double processor = double(std::clock() - processor_start) / CLOCKS_PER_SEC;
  return PlannedStep{std::move(space), std::move(result), took.count(), processor};
}

absl::StatusOr<PlanReport> MakeReport(const PlanningInput& input, const ReportOptions& options,
                                      const PlannedStep& planned,
                                      const absl::StatusOr<PlannedStep>* stated) {
  PlanReport report;
  report.model = input.step.name;
  report.cluster = input.cluster.name;
  report.devices = options.devices;
  report.samples = input.step.samples;
  report.tokens = input.step.tokens;
  report.parameters = input.step.parameters;
  report.device_bytes = int64_t(input.cluster.device.memory_bytes);
  report.planning_seconds = planned.seconds;
  report.planning_processor_seconds = planned.processor_seconds;
  report.evaluated = planned.result.evaluated;
  report.feasible = planned.result.fit;
  report.bound = FindLowerBound(input.cluster, *input.step.graph, input.types, options.devices);
  const std::vector<EvaluatedCandidate>& all = planned.result.candidates;
  MOAI_ASSIGN_OR_RETURN(report.chosen, Summarize(input, planned.space, all[0], options.devices));
  std::vector<const EvaluatedCandidate*> too_large;
  for (size_t i = 1; i < all.size(); ++i) {
    const bool fits = all[i].cost.total_bytes() <= report.device_bytes;
    if (fits) {
      if (report.slower.size() < options.most_lines) {
        report.slower.push_back(LineOf(planned.space, all[i]));
      }
    } else if (!report.chosen.fits || all[i].cost.seconds < report.chosen.cost.seconds) {
      too_large.push_back(&all[i]);
    }
  }
  std::stable_sort(too_large.begin(), too_large.end(),
                   [](auto* a, auto* b) { return a->cost.seconds < b->cost.seconds; });
  if (too_large.size() > options.most_lines) too_large.resize(options.most_lines);
  for (const auto* one : too_large) report.too_large.push_back(LineOf(planned.space, *one));
  if (stated == nullptr) return report;
  if (!stated->ok()) {
    report.stated_error = std::string(stated->status().message());
    return report;
  }
  MOAI_ASSIGN_OR_RETURN(report.stated, Summarize(input, (*stated)->space,
                                                 (*stated)->result.candidates[0], options.devices));
  return report;
}

std::vector<FlavorRow> CompareFlavors(const PlanningInput& input, const ReportOptions& options) {
  std::vector<FlavorRow> rows;
  for (int64_t devices = 1; devices <= options.devices; devices *= 2) {
    ReportOptions own = options;
    own.devices = devices;
    FlavorRow row{.devices = devices};
    const auto plan = [&]() -> absl::StatusOr<PlanSummary> {
      MOAI_ASSIGN_OR_RETURN(const PlannedStep planned, PlanStep(input, own));
      return Summarize(input, planned.space, planned.result.candidates[0], devices);
    };
    if (absl::StatusOr<PlanSummary> summary = plan(); summary.ok()) {
      row.plan = *std::move(summary);
    } else {
      row.error = std::string(summary.status().message());
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace moai
