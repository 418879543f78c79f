#include "tools/plan/timeline.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/op_schema.h"
#include "scheduler/cost/collective_cost.h"
#include "scheduler/cost/fused_cost.h"
#include "scheduler/cost/pipeline_schedule.h"
#include "scheduler/cost/simulator.h"
#include "scheduler/planning/evaluate.h"
#include "scheduler/planning/forward_pass.h"

namespace moai {
namespace {

// More micro-batches than these would be a trace that no browser opens.
constexpr int64_t kMostKernelTasks = 200000;

// Kernel by kernel, of a plan without pipeline stages.
class KernelTimeline {
 public:
  KernelTimeline(const Cluster& cluster, const PartitionedGraph& partitioned,
                 std::vector<TensorType> types)
      : cluster_(cluster),
        part_(partitioned.parts[0]),
        graph_(*part_.graph),
        turns_(partitioned.turns[0]),
        types_(std::move(types)),
        groups_(GroupFusedNodes(graph_, types_)),
        task_of_(graph_.values.size(), kNone) {}

  absl::StatusOr<Schedule> Run(int64_t micro_batches) {
    const int64_t shown = int64_t(groups_.groups.size()) * micro_batches;
    if (shown > kMostKernelTasks) {
      return absl::InvalidArgumentError(
          absl::StrCat("the timeline would have ", shown, " kernels, more than ", kMostKernelTasks,
                       ": plan a smaller batch, or one with fewer micro-batches"));
    }
    const uint32_t end = uint32_t(groups_.groups.size());
    uint32_t group = 0;
    // What comes before the micro-batches, the micro-batches, what comes after.
    const auto in = [&](uint32_t g) { return turns_[groups_.groups[g].back()] != NodeTurn::kOnce; };
    std::vector<uint32_t> loop;
    for (uint32_t g = 0; g < end; ++g) {
      if (in(g)) loop.push_back(g);
    }
    for (; group < end && (loop.empty() || group < loop.front()); ++group) Add(group, -1);
    for (int64_t m = 0; m < micro_batches; ++m) {
      for (uint32_t g : loop) Add(g, int32_t(m));
    }
    for (; group < end; ++group) {
      if (!in(group)) Add(group, -1);
    }
    return std::move(schedule_);
  }

 private:
  static constexpr TaskId kNone = UINT32_MAX;

  void Add(uint32_t group, int32_t micro_batch) {
    const std::vector<uint32_t>& nodes = groups_.groups[group];
    std::vector<TaskId> after;
    for (uint32_t node : nodes) {
      for (ValueId input : graph_.nodes[node].inputs) {
        if (task_of_[input] != kNone) after.push_back(task_of_[input]);
      }
    }
    std::sort(after.begin(), after.end());
    after.erase(std::unique(after.begin(), after.end()), after.end());
    const Node& last = graph_.nodes[nodes.back()];
    const uint16_t category = schedule_.Category(Name(last.op));
    TaskId task = kNone;
    if (IsCollective(last.op)) {
      task = schedule_.AddTransfer(0, CollectiveTime(last), category, after, micro_batch);
    } else {
      const double seconds = CostOfGroup(cluster_.device, graph_, types_, groups_, group).seconds;
      // A group of views is no kernel, but what it looks at must be there.
      if (seconds == 0 && after.size() == 1) {
        task = after[0];
      } else if (seconds > 0 || !after.empty()) {
        task = schedule_.AddCompute(0, seconds, category, after, micro_batch);
      }
    }
    for (uint32_t node : nodes) {
      for (uint32_t k = 0; k < graph_.nodes[node].output_count; ++k) {
        task_of_[graph_.nodes[node].first_output + k] = task;
      }
    }
  }

  double CollectiveTime(const Node& node) const {
    const double in = node.inputs.empty() ? 0 : double(types_[node.inputs[0]].bytes());
    const double bytes = std::max(in, double(types_[node.first_output].bytes()));
    const DeviceGroup& group =
        part_.groups[size_t(node.attributes[Schema(node.op).group_attribute])];
    return CollectiveSeconds(cluster_, *CollectiveKindOf(node.op), bytes, GroupOf(cluster_, group));
  }

  const Cluster& cluster_;
  const DeviceGraph& part_;
  const Graph& graph_;
  const std::vector<NodeTurn>& turns_;
  const std::vector<TensorType> types_;
  const KernelGroups groups_;
  Schedule schedule_{1};
  std::vector<TaskId> task_of_;  // by value: the last task that made it
};

// Seconds of one micro-batch on a stage, and of what its device does once a step.
struct StageTimes {
  double micro_batch = 0;
  double once = 0;
};

absl::StatusOr<StageTimes> TimesOf(const Cluster& cluster, const PartitionedGraph& partitioned,
                                   size_t stage) {
  const PartitionedGraph alone{.parts = {partitioned.parts[stage]},
                               .turns = {partitioned.turns[stage]},
                               .sources = {partitioned.sources[stage]},
                               .makes_terms = {partitioned.makes_terms[stage]}};
  MOAI_ASSIGN_OR_RETURN(const StepCost two, Evaluate(cluster, alone, {.micro_batches = 2}));
  MOAI_ASSIGN_OR_RETURN(const StepCost three, Evaluate(cluster, alone, {.micro_batches = 3}));
  StageTimes times;
  times.micro_batch = three.seconds - two.seconds;
  times.once = std::max(0.0, two.seconds - 2 * times.micro_batch - cluster.device.step_seconds);
  return times;
}

absl::StatusOr<Schedule> PipelineTimeline(const Cluster& cluster, const GraphFacts& facts,
                                          const PartitionRequest& request,
                                          const PartitionedGraph& partitioned,
                                          const Candidate& candidate) {
  const size_t stages = size_t(candidate.stages);
  const uint32_t chunks = request.pipeline.chunks;
  // Arithmetic of each chunk, forwards and backwards.
  const uint32_t turn = FindForwardPass(facts.graph(), facts.types()).turn;
  std::vector<double> forward(chunks, 0), backward(chunks, 0), of_stage(stages, 0);
  for (uint32_t node = 0; node < request.pipeline.chunk_of_node.size(); ++node) {
    const uint32_t chunk = request.pipeline.chunk_of_node[node];
    (node <= turn ? forward : backward)[chunk] += facts.flops(node);
    of_stage[chunk % stages] += facts.flops(node);
  }
  PipelineTimes times;
  std::vector<StageTimes> own;
  for (size_t stage = 0; stage < stages; ++stage) {
    MOAI_ASSIGN_OR_RETURN(own.emplace_back(), TimesOf(cluster, partitioned, stage));
  }
  for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
    const size_t stage = chunk % stages;
    const double unit = of_stage[stage] > 0 ? own[stage].micro_batch / of_stage[stage] : 0;
    times.forward.push_back(forward[chunk] * unit);
    times.backward.push_back(backward[chunk] * unit);
  }
  MOAI_ASSIGN_OR_RETURN(const auto order,
                        OneForwardOneBackward(int(stages), int(candidate.micro_batches),
                                              int(candidate.virtual_stages)));
  Schedule schedule(static_cast<int>(stages));
  std::vector<uint32_t> device_of;
  for (uint32_t stage = 0; stage < stages; ++stage) device_of.push_back(stage);
  const std::vector<TaskId> last = AddPipeline(order, times, device_of, &schedule);
  const uint16_t once = schedule.Category("once a step: sums of gradients, updates");
  for (uint32_t stage = 0; stage < stages; ++stage) {
    schedule.AddCompute(stage, own[stage].once, once, {last[stage]});
  }
  return schedule;
}

}  // namespace

absl::StatusOr<double> WriteTimeline(const Cluster& cluster, const SearchSpace& space,
                                     const Candidate& candidate, const std::string& path) {
  MOAI_ASSIGN_OR_RETURN(const PartitionRequest request,
                        space.RequestFor(candidate, /*sample=*/true));
  MOAI_ASSIGN_OR_RETURN(const PartitionedGraph partitioned, Partition(request));
  absl::StatusOr<Schedule> schedule = absl::InternalError("no schedule");
  if (candidate.stages > 1) {
    schedule = PipelineTimeline(cluster, space.facts(candidate.recompute), request, partitioned,
                                candidate);
  } else {
    const DeviceGraph& part = partitioned.parts[0];
    MOAI_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferGraph(*part.graph, part.sizes));
    schedule = KernelTimeline(cluster, partitioned, std::move(types)).Run(candidate.micro_batches);
  }
  if (!schedule.ok()) return schedule.status();
  // Measured slowdowns are of the simulator; the evaluation that chose the plan has none.
  MOAI_ASSIGN_OR_RETURN(const SimulationResult result,
                        Simulate(*schedule, {.overlap_slowdown = cluster.overlap_slowdown}));
  MOAI_RETURN_IF_ERROR(WriteTrace(*schedule, result, path));
  return result.finish + cluster.device.step_seconds;
}

}  // namespace moai
