#include "scheduler/planning/auto_planner.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "graph/fingerprint.h"
#include "graph/infer.h"
#include "graph/verify.h"
#include "program/compile.h"
#include "scheduler/fit.h"
#include "scheduler/partition/layouts.h"
#include "scheduler/partition/partitioner.h"
#include "scheduler/planning/local_cluster.h"

namespace moai {
namespace {

// Below so much arithmetic a graph is not worth a search: every device does all of it.
constexpr double kSmallFlops = 1e6;
// Executors run one collective after the other, and each takes the latency of its links. A bucket
// is there twice while it is summed: it is to be small beside what a device holds.
constexpr int64_t kMostBucketBytes = 1 << 20;
constexpr int64_t kBucketsOfState = 16;

int64_t BucketBytes(const PlanRequest& request) {
  int64_t state = 0;
  if (!request.buckets) return 0;
  for (const Input& input : request.graph->inputs) {
    if (input.kind == InputKind::kSlot) state += request.types[input.value].bytes();
  }
  return std::min(kMostBucketBytes, state / kBucketsOfState);
}

int64_t LeastMemory(absl::Span<const DeviceProfile> devices) {
  int64_t least = devices[0].memory_bytes;
  for (const DeviceProfile& device : devices) least = std::min(least, device.memory_bytes);
  return least;
}

// How many candidates are compiled before a plan is refused.
constexpr size_t kMostCompiled = 12;

// Bytes of the state that a device binds in a step, where it exists before.
int64_t StateBytes(const Program& program) {
  int64_t bytes = 0;
  for (size_t slot = 0; slot < program.slot_types.size(); ++slot) {
    if (!program.slot_created[slot]) bytes += AllocatedBytes(program.slot_types[slot].bytes());
  }
  for (const TensorType& value : program.value_types) bytes += AllocatedBytes(value.bytes());
  return bytes;
}

// A plan under construction, with what it needs of each device.
struct Compiled {
  std::shared_ptr<Plan> plan;
  int64_t most_bytes = 0;  // of a device: state, temporaries, results
};

class AutoPlanner : public Planner {
 public:
  explicit AutoPlanner(const AutoPlannerOptions& options) : options_(options) {}

  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    if (request.devices.empty()) return absl::InvalidArgumentError("a session without devices");
    const Cluster cluster = LocalCluster(request.devices);
    SearchRequest search = SessionSearch(request, cluster);
    search.constraints = options_.constraints;
    const bool free =
        options_.constraints.micro_batches <= 1 && options_.constraints.recompute <= 0;
    if (request.devices.size() == 1 && free) {
      // Nothing to choose where everything fits.
      MOAI_ASSIGN_OR_RETURN(Compiled whole, CompileWhole(request));
      if (whole.most_bytes <= search.memory_bytes - search.other_bytes) return whole.plan;
    }
    MOAI_ASSIGN_OR_RETURN(const SearchSpace space, SearchSpace::Make(search));
    if (space.facts(RecomputeMode::kNone).total_flops() < kSmallFlops) {
      return CompileSmall(request, space, search);
    }
    return Choose(request, space, search);
  }

 private:
  static StateSharding StateOf(const Candidate& candidate) {
    StateSharding state = StateSharding::kNone;
    for (const AxisPolicy& axis : candidate.axes) state = std::max(state, axis.state);
    return state;
  }

  // One device that does everything at once.
  static absl::StatusOr<Compiled> CompileWhole(const PlanRequest& request) {
    PartitionRequest partition{.graph = request.graph.get(),
                               .sizes = request.sizes,
                               .types = request.types,
                               .devices = {0}};
    partition.inputs.resize(request.graph->inputs.size());
    partition.outputs.resize(request.graph->outputs.size());
    MOAI_ASSIGN_OR_RETURN(PartitionedGraph parts, Partition(partition));
    DeviceGraph& part = parts.parts[0];
    // What the client's graph is compiled to is there already.
    const bool as_it_came = part.constants.empty() &&
                            ComputeFingerprint(*part.graph) == ComputeFingerprint(*request.graph);
    if (as_it_came) part.graph = request.graph;
    MOAI_ASSIGN_OR_RETURN(
        Compiled compiled,
        Compile(request, as_it_came ? request.compiled : nullptr, std::move(parts), partition));
    const StepMemory& memory = compiled.plan->memory[0];
    compiled.plan->explanation = absl::StrCat(
        "one device, ", compiled.plan->instructions, " instructions, ", ReadableBytes(memory.arena),
        " for temporaries, ", ReadableBytes(memory.fresh), " for results");
    return compiled;
  }

  // Every device does all of it; what creates large state makes it in parts.
  static absl::StatusOr<std::shared_ptr<const Plan>> CompileSmall(const PlanRequest& request,
                                                                  const SearchSpace& space,
                                                                  const SearchRequest& search) {
    Candidate candidate;
    if (search.devices > 1) {
      candidate.axes.push_back({.extent = search.devices});
      candidate.axis_names.push_back("data");
    }
    MOAI_ASSIGN_OR_RETURN(const PartitionRequest partition,
                          space.RequestFor(candidate, /*sample=*/false));
    MOAI_ASSIGN_OR_RETURN(PartitionedGraph parts, Partition(partition));
    MOAI_ASSIGN_OR_RETURN(Compiled compiled,
                          Compile(request, nullptr, std::move(parts), partition));
    compiled.plan->explanation = "small: every device runs all of it";
    return compiled.plan;
  }

  absl::StatusOr<std::shared_ptr<const Plan>> Choose(const PlanRequest& request,
                                                     const SearchSpace& space,
                                                     const SearchRequest& search) const {
    MOAI_ASSIGN_OR_RETURN(const SearchResult result, space.Search());
    const int64_t available = search.memory_bytes - search.other_bytes;
    int64_t least = INT64_MAX;
    std::string refused;
    // Of memory: the truth against the estimate, as seen so far of plans whose state lies alike.
    // The first of a sort is compiled whatever its estimate.
    std::map<StateSharding, double> underestimate;
    size_t compiled_plans = 0;
    absl::Status failed;
    for (const EvaluatedCandidate& evaluated : result.candidates) {
      const auto [ratio, unknown] = underestimate.try_emplace(StateOf(evaluated.candidate), 0);
      const double expected = ratio->second * double(evaluated.cost.total_bytes());
      if (!unknown && expected > double(available)) continue;
      if (++compiled_plans > kMostCompiled) break;
      absl::StatusOr<Compiled> made = CompileCandidate(request, space, evaluated.candidate);
      if (!made.ok()) {
        // Its sample could be made, all of it cannot: a defect, but the next best plan is there.
        failed = made.status();
        absl::StrAppend(&refused, "; ", space.Describe(evaluated.candidate),
                        " could not be made: ", failed.message());
        continue;
      }
      Compiled compiled = *std::move(made);
      least = std::min(least, compiled.most_bytes);
      if (compiled.most_bytes > available) {
        ratio->second = std::max(
            ratio->second, double(compiled.most_bytes) / double(evaluated.cost.total_bytes() + 1));
        absl::StrAppend(&refused, "; ", space.Describe(evaluated.candidate), " would need ",
                        ReadableBytes(compiled.most_bytes));
        continue;
      }
      compiled.plan->explanation = Explain(space, result, evaluated, compiled, refused);
      if (space.Trains()) compiled.plan->notices = Notices(space, result, evaluated.candidate);
      return compiled.plan;
    }
    if (least == INT64_MAX && !failed.ok()) return failed;
    return Refusal(request, search, least);
  }

  static absl::StatusOr<Compiled> CompileCandidate(const PlanRequest& request,
                                                   const SearchSpace& space,
                                                   const Candidate& candidate) {
    MOAI_ASSIGN_OR_RETURN(const PartitionRequest partition,
                          space.RequestFor(candidate, /*sample=*/false));
    MOAI_ASSIGN_OR_RETURN(PartitionedGraph parts, Partition(partition));
    return Compile(request, nullptr, std::move(parts), partition);
  }

  // In the words that users of this platform know.
  static std::vector<std::string> Notices(const SearchSpace& space, const SearchResult& result,
                                          const Candidate& chosen) {
    std::string tensor = "No TP";
    bool shards_parameters = false;
    for (size_t i = 0; i < chosen.axes.size(); ++i) {
      if (chosen.axis_names[i] == "model") tensor = absl::StrCat("TP ", chosen.axes[i].extent);
      shards_parameters |= chosen.axes[i].state == StateSharding::kParameters;
    }
    return {
        absl::StrCat("The number of candidates is ", result.evaluated, "."),
        absl::StrCat("The number of possible candidates is ", result.fit, "."),
        "Configuration for parallelism is selected.",
        absl::StrCat("num_stages : ", chosen.stages, ", num_micro_batches : ", chosen.micro_batches,
                     ", batch_per_device : ", space.BatchPerDevice(chosen), ", ", tensor,
                     ", recomputation : ", Name(chosen.recompute), ", distribute_param : ",
                     shards_parameters ? "true" : "false", ", distribute_low_prec_param : false")};
  }

  static std::string Explain(const SearchSpace& space, const SearchResult& result,
                             const EvaluatedCandidate& chosen, const Compiled& compiled,
                             const std::string& refused) {
    std::string text = absl::StrFormat(
        "%s; predicted %.4g s (kernels %.4g s, collectives %.4g s); %s of %d candidates fit; a "
        "device needs %s",
        space.Describe(chosen.candidate), chosen.cost.seconds, chosen.cost.compute,
        chosen.cost.communication, absl::StrCat(result.fit), result.evaluated,
        ReadableBytes(compiled.most_bytes));
    for (const EvaluatedCandidate& other : result.candidates) {
      if (&other == &chosen) continue;
      absl::StrAppend(&text, absl::StrFormat("; next best: %s, %.4g s",
                                             space.Describe(other.candidate), other.cost.seconds));
      break;
    }
    if (!refused.empty()) absl::StrAppend(&text, "; passed over", refused);
    return text;
  }

  // Names the fewest devices, of the same memory, with which some plan fits.
  absl::Status Refusal(const PlanRequest& request, const SearchRequest& search,
                       int64_t least) const {
    const int64_t available = search.memory_bytes - search.other_bytes;
    std::string advice;
    for (const PlannedSize& size : request.larger) {
      if (size.devices <= search.devices && size.memory_bytes <= search.memory_bytes) continue;
      DeviceProfile like = request.devices[0];
      like.memory_bytes = size.memory_bytes;
      const std::vector<DeviceProfile> devices(size_t(size.devices), like);
      const Cluster cluster = LocalCluster(devices);
      SearchRequest larger = search;
      larger.cluster = &cluster;
      larger.devices = size.devices;
      larger.memory_bytes = size.memory_bytes;
      absl::StatusOr<SearchSpace> space = SearchSpace::Make(larger);
      if (!space.ok()) continue;
      absl::StatusOr<SearchResult> result = space->Search();
      if (!result.ok() || result->feasible == 0) continue;
      advice = absl::StrCat("; the smallest accelerator that fits is ", size.name);
      break;
    }
    const bool one = search.devices == 1;
    return absl::ResourceExhaustedError(
        absl::StrCat("the step needs ", ReadableBytes(least), " (", least, " bytes) ",
                     one ? "" : absl::StrCat("of each of ", search.devices, " devices "),
                     "by the smallest plan found, beside ", ReadableBytes(search.other_bytes),
                     " of tensors that are alive; ", one ? "the accelerator has " : "each has ",
                     ReadableBytes(search.memory_bytes), ", of which ", ReadableBytes(available),
                     " (", available, " bytes) are available", advice));
  }

  // Compiles the parts and fills the plan. `compiled`: what all of them are compiled to, if known.
  static absl::StatusOr<Compiled> Compile(const PlanRequest& request,
                                          const ProgramTemplate* compiled, PartitionedGraph parts,
                                          const PartitionRequest& partition) {
    Compiled result{std::make_shared<Plan>(), 0};
    Plan& plan = *result.plan;
    std::shared_ptr<const ProgramTemplate> own;
    for (size_t device = 0; device < parts.parts.size(); ++device) {
      const DeviceGraph& part = parts.parts[device];
      // Devices of one pipeline stage share a structure, and stand together.
      const bool another = device == 0 || part.graph != parts.parts[device - 1].graph;
      if (another && (own != nullptr || compiled == nullptr)) {
        MOAI_ASSIGN_OR_RETURN(own, CompileStructure(*part.graph));
        compiled = own.get();
      }
      MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types,
                            InferGraph(*part.graph, part.sizes));
      MOAI_ASSIGN_OR_RETURN(const Program program,
                            InstantiateProgram(*compiled, part.sizes, types,
                                               DeviceShape{request.devices[device].threads}));
      plan.memory.push_back(StepMemoryOf(program));
      plan.instructions += program.instructions.size();
      result.most_bytes =
          std::max(result.most_bytes, plan.memory.back().total() + StateBytes(program));
    }
    plan.parts = std::move(parts.parts);
    FillBindings(request, partition, plan);
    return result;
  }

  static void FillBindings(const PlanRequest& request, const PartitionRequest& partition,
                           Plan& plan) {
    const Graph& graph = *request.graph;
    const Mesh& mesh = partition.mesh;
    plan.slot_types.resize(graph.slot_count);
    plan.slot_created.assign(graph.slot_count, true);
    plan.slot_layouts.assign(graph.slot_count, Replicated(mesh));
    plan.value_types.resize(graph.value_count);
    plan.value_layouts.assign(graph.value_count, Replicated(mesh));
    plan.feed_types.resize(graph.feed_count);
    const std::vector<Layout> inputs = LayoutsOfInputs(partition);
    const std::vector<Layout> outputs = LayoutsOfOutputs(partition);
    for (size_t i = 0; i < graph.inputs.size(); ++i) {
      const Input& input = graph.inputs[i];
      const TensorType& type = request.types[input.value];
      switch (input.kind) {
        case InputKind::kSlot:
          plan.slot_types[input.index] = type;
          plan.slot_created[input.index] = false;
          plan.slot_layouts[input.index] = inputs[i];
          break;
        case InputKind::kValue:
          plan.value_types[input.index] = type;
          plan.value_layouts[input.index] = inputs[i];
          break;
        case InputKind::kFeed:
          plan.feed_types[input.index] = type;
          break;
        case InputKind::kScalar:
          break;
      }
    }
    for (size_t i = 0; i < graph.outputs.size(); ++i) {
      const Output& output = graph.outputs[i];
      const TensorType& type = request.types[output.value];
      if (output.kind == OutputKind::kValue) {
        plan.output_types.push_back(type);
        plan.output_layouts.push_back(outputs[i]);
      } else if (plan.slot_created[output.index]) {
        plan.slot_types[output.index] = type;
        plan.slot_layouts[output.index] = outputs[i];
      }
    }
  }

  const AutoPlannerOptions options_;
};

}  // namespace

SearchRequest SessionSearch(const PlanRequest& request, const Cluster& cluster) {
  return {.graph = request.graph.get(),
          .sizes = request.sizes,
          .types = request.types,
          .cluster = &cluster,
          .devices = int64_t(request.devices.size()),
          .memory_bytes = LeastMemory(request.devices),
          .other_bytes = request.other_bytes,
          .overlap = Overlap::kSums,  // program/overlap.h
          .bucket_bytes = BucketBytes(request),
          .most_nodes = int64_t{kMaxNodes},
          .most_stages = int64_t(request.devices.size())};
}

std::unique_ptr<Planner> MakeAutoPlanner(const AutoPlannerOptions& options) {
  return std::make_unique<AutoPlanner>(options);
}

}  // namespace moai
