#include "scheduler/planning/evaluate.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/op_schema.h"
#include "scheduler/cost/collective_cost.h"
#include "scheduler/cost/fused_cost.h"
#include "scheduler/cost/op_cost.h"
#include "scheduler/partition/pipeline_order.h"
#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

// Two streams of one device: kernels and collectives, each in order.
struct Clock {
  double kernels = 0;
  double collectives = 0;
  double now() const { return std::max(kernels, collectives); }
};

// One stage: a micro-batch, and what comes once, or all where there are no micro-batches.
struct StageCost {
  StepCost cost;
  double micro_batch = 0;
  double once = 0;
};

class Evaluation {
 public:
  Evaluation(const Cluster& cluster, const PartitionedGraph& partitioned, size_t part,
             std::vector<TensorType> types, const EvaluateOptions& options)
      : cluster_(cluster),
        part_(partitioned.parts[part]),
        graph_(*part_.graph),
        in_micro_batch_(partitioned.in_micro_batch[part]),
        types_(std::move(types)),
        options_(options),
        groups_(GroupFusedNodes(graph_, types_)) {
    for (const DeviceGroup& group : part_.groups) shapes_.push_back(GroupOf(cluster_, group));
  }

  // In a sample the nodes of the micro-batch stand for all: their steady state is what they take
  // by themselves.
  StageCost Run() {
    StageCost stage;
    stage.once = Schedule(/*micro_batch_only=*/false, /*repeats=*/1);
    if (options_.micro_batches > 1) {
      stage.micro_batch = Schedule(/*micro_batch_only=*/true, double(options_.micro_batches - 1));
      stage.once = std::max(0.0, stage.once - stage.micro_batch);
    }
    FindMemory();
    stage.cost = cost_;
    return stage;
  }

 private:
  bool InMicroBatch(uint32_t node) const { return in_micro_batch_[node]; }

  // Seconds of the nodes in order; what they do counts `repeats` times.
  double Schedule(bool micro_batch_only, double repeats) {
    Clock clock;
    std::vector<double> ready(graph_.values.size(), 0);
    for (uint32_t group = 0; group < groups_.groups.size(); ++group) {
      const std::vector<uint32_t>& nodes = groups_.groups[group];
      if (micro_batch_only && !InMicroBatch(nodes.back())) continue;
      double start = 0;
      for (uint32_t node : nodes) {
        for (ValueId input : graph_.nodes[node].inputs) start = std::max(start, ready[input]);
      }
      const Node& last = graph_.nodes[nodes.back()];
      double end = start;
      if (IsCollective(last.op)) {
        end = AddCollective(last, start, repeats, clock);
      } else {
        const KernelCost kernel = CostOfGroup(cluster_.device, graph_, types_, groups_, group);
        cost_.flops += kernel.flops * repeats;
        cost_.compute += kernel.seconds * repeats;
        clock.kernels = std::max(clock.kernels, start) + kernel.seconds;
        end = kernel.seconds == 0 ? start : clock.kernels;
      }
      for (uint32_t node : nodes) {
        for (uint32_t k = 0; k < graph_.nodes[node].output_count; ++k) {
          ready[graph_.nodes[node].first_output + k] = end;
        }
      }
    }
    return clock.now();
  }

  double AddCollective(const Node& node, double start, double repeats, Clock& clock) {
    const CollectiveKind kind = *CollectiveKindOf(node.op);
    const double in = node.inputs.empty() ? 0 : double(types_[node.inputs[0]].bytes());
    const double out = double(types_[node.first_output].bytes());
    const double bytes = std::max(in, out);
    const GroupShape& shape = shapes_[size_t(node.attributes[Schema(node.op).group_attribute])];
    const double seconds = CollectiveSeconds(cluster_, kind, bytes, shape);
    const double p = double(shape.size()), share = (p - 1) / p;
    cost_.sent_bytes += repeats * bytes * share * (kind == CollectiveKind::kAllReduce ? 2 : 1);
    cost_.communication += seconds * repeats;
    double& stream = options_.overlap ? clock.collectives : clock.kernels;
    stream = std::max(stream, start) + seconds;
    return stream;
  }

  void FindMemory() {
    // Bytes of a value that a view looks at count for the value.
    std::vector<ValueId> root(graph_.values.size());
    for (ValueId value = 0; value < root.size(); ++value) root[value] = value;
    std::vector<bool> outside(graph_.values.size(), false);  // inputs: not temporaries
    for (const Input& input : graph_.inputs) {
      outside[input.value] = true;
      if (input.kind == InputKind::kSlot) cost_.state += types_[input.value].bytes();
      if (input.kind == InputKind::kFeed || input.kind == InputKind::kValue) {
        cost_.temporaries += types_[input.value].bytes();
      }
    }
    const uint32_t end = uint32_t(groups_.groups.size());
    std::vector<uint32_t> last(graph_.values.size(), 0);
    for (uint32_t group = 0; group < end; ++group) {
      for (uint32_t i : groups_.groups[group]) {
        const Node& node = graph_.nodes[i];
        for (ValueId input : node.inputs) last[root[input]] = group;
        if (IsView(node) && !node.inputs.empty()) root[node.first_output] = root[node.inputs[0]];
      }
    }
    for (const Output& output : graph_.outputs) {
      // What replaces a slot is given its memory.
      last[root[output.value]] =
          output.kind == OutputKind::kSlot ? std::max(last[root[output.value]], 0u) : end;
    }
    std::vector<int64_t> dies(size_t(end) + 1, 0);
    int64_t alive = 0, most = 0;
    for (uint32_t group = 0; group < end; ++group) {
      for (uint32_t i : groups_.groups[group]) {
        const Node& node = graph_.nodes[i];
        for (uint32_t k = 0; k < node.output_count; ++k) {
          const ValueId value = node.first_output + k;
          // Inside a kernel nothing reaches memory; a view has none of its own.
          if (root[value] != value || outside[value] || last[value] <= group) continue;
          alive += types_[value].bytes();
          dies[last[value]] += types_[value].bytes();
        }
      }
      most = std::max(most, alive);
      alive -= dies[group];
    }
    cost_.temporaries += most;
  }

  const Cluster& cluster_;
  const DeviceGraph& part_;
  const Graph& graph_;
  const std::vector<bool>& in_micro_batch_;
  const std::vector<TensorType> types_;
  const EvaluateOptions options_;
  const KernelGroups groups_;
  std::vector<GroupShape> shapes_;
  StepCost cost_;
};

}  // namespace

absl::StatusOr<StepCost> Evaluate(const Cluster& cluster, const PartitionedGraph& partitioned,
                                  const EvaluateOptions& options) {
  const int64_t stages = int64_t(partitioned.parts.size());
  StepCost total;
  double sum = 0, slowest = 0, once = 0, all_once = 0;
  for (int64_t stage = 0; stage < stages; ++stage) {
    const DeviceGraph& part = partitioned.parts[size_t(stage)];
    MOAI_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferGraph(*part.graph, part.sizes));
    StageCost own =
        Evaluation(cluster, partitioned, size_t(stage), std::move(types), options).Run();
    sum += own.micro_batch;
    slowest = std::max(slowest, own.micro_batch);
    once = std::max(once, own.once);
    all_once += own.once;
    // Activations of several micro-batches are alive on a stage at once.
    const int64_t chunks = stages * options.virtual_stages;
    const int64_t in_flight = stages == 1 ? 1
                                          : std::min(options.micro_batches * options.virtual_stages,
                                                     MicroBatchesInFlight(stages, chunks, stage));
    own.cost.temporaries = own.cost.temporaries * in_flight / options.virtual_stages;
    total.compute = std::max(total.compute, own.cost.compute);
    total.communication = std::max(total.communication, own.cost.communication);
    total.flops = std::max(total.flops, own.cost.flops);
    total.sent_bytes = std::max(total.sent_bytes, own.cost.sent_bytes);
    if (own.cost.total_bytes() > total.total_bytes()) {
      total.state = own.cost.state;
      total.temporaries = own.cost.temporaries;
    }
  }
  const double v = double(options.virtual_stages);
  if (options.micro_batches > 1) {
    total.seconds = double(options.micro_batches) * slowest + (sum - slowest) / v + once;
  } else {
    total.seconds = all_once;  // stages wait for each other
  }
  total.seconds += cluster.device.step_seconds;
  total.exposed = std::max(0.0, total.seconds - total.compute);
  return total;
}

}  // namespace moai
