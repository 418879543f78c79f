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

// Collectives of one kind and group that were issued together.
struct Bucket {
  CollectiveKind kind;
  int32_t group;
  double bytes = 0;
  double seconds = 0;
};

// Two streams of one device: kernels and collectives, each in order.
struct Clock {
  double kernels = 0;
  double collectives = 0;
  double idle = 0;              // of the collectives' stream, so far
  std::vector<Bucket> buckets;  // the last of each kind and group
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
        turns_(partitioned.turns[part]),
        types_(std::move(types)),
        options_(options),
        groups_(GroupFusedNodes(graph_, types_)) {
    for (const DeviceGroup& group : part_.groups) shapes_.push_back(GroupOf(cluster_, group));
    FindEarly();
  }

  // In a sample the nodes of the micro-batch stand for all: their steady state is what they take
  // by themselves.
  StageCost Run(int64_t in_flight) {
    StageCost stage;
    stage.once = Schedule(/*micro_batch_only=*/false, /*repeats=*/1);
    if (options_.micro_batches > 1) {
      stage.micro_batch = Schedule(/*micro_batch_only=*/true, double(options_.micro_batches - 1));
      stage.once = std::max(0.0, stage.once - stage.micro_batch);
    }
    FindMemory(in_flight);
    stage.cost = cost_;
    return stage;
  }

 private:
  bool InMicroBatch(uint32_t node) const { return turns_[node] != NodeTurn::kOnce; }

  // Seconds of the nodes in order; what they do counts `repeats` times.
  double Schedule(bool micro_batch_only, double repeats) {
    Clock clock;
    const double communication = cost_.communication;
    double kernels = 0;  // seconds
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
        kernels += kernel.seconds;
        clock.kernels = std::max(clock.kernels, start) + kernel.seconds;
        end = kernel.seconds == 0 ? start : clock.kernels;
        // What is made of state alone does not have to wait for its turn: parameters can be on
        // their way before the nodes that need them.
        if (options_.overlap && early_[group]) end = start + kernel.seconds;
      }
      for (uint32_t node : nodes) {
        for (uint32_t k = 0; k < graph_.nodes[node].output_count; ++k) {
          ready[graph_.nodes[node].first_output + k] = end;
        }
      }
    }
    // Kernels beside which a collective runs take longer.
    const double both =
        std::max(0.0, kernels + (cost_.communication - communication) / repeats - clock.now());
    return clock.now() + both * (cluster_.overlap_slowdown - 1);
  }

  double AddCollective(const Node& node, double start, double repeats, Clock& clock) {
    const CollectiveKind kind = *CollectiveKindOf(node.op);
    const double in = node.inputs.empty() ? 0 : double(types_[node.inputs[0]].bytes());
    const double out = double(types_[node.first_output].bytes());
    const double bytes = std::max(in, out);
    const GroupShape& shape = shapes_[size_t(node.attributes[Schema(node.op).group_attribute])];
    const double p = double(shape.size()), share = (p - 1) / p;
    cost_.sent_bytes += repeats * bytes * share * (kind == CollectiveKind::kAllReduce ? 2 : 1);
    if (!options_.overlap) {
      const double seconds = CollectiveSeconds(cluster_, kind, bytes, shape);
      cost_.communication += seconds * repeats;
      clock.kernels = std::max(clock.kernels, start) + seconds;
      return clock.kernels;
    }
    // State can be on its way while nodes before run that do not need it.
    const bool early = !node.inputs.empty() && state_[node.inputs[0]];
    const double earliest = early ? clock.kernels : start;
    clock.idle += std::max(0.0, earliest - clock.collectives);
    const double seconds =
        SecondsInBucket(kind, node.attributes[Schema(node.op).group_attribute], bytes, shape,
                        /*queued=*/start <= clock.collectives, clock);
    clock.collectives = std::max(clock.collectives, earliest);
    cost_.communication += seconds * repeats;
    const double before = early ? std::min(clock.idle, seconds) : 0;
    clock.idle -= before;
    clock.collectives += seconds - before;
    return seconds > 0 && before == seconds ? start : clock.collectives;
  }

  // A collective that waits for its turn is issued together with the one before it of its kind and
  // group, up to a size: then it pays for its bytes only.
  double SecondsInBucket(CollectiveKind kind, int32_t group, double bytes, const GroupShape& shape,
                         bool queued, Clock& clock) const {
    if (cluster_.bucket_bytes <= 0) return CollectiveSeconds(cluster_, kind, bytes, shape);
    auto bucket = std::find_if(
        clock.buckets.begin(), clock.buckets.end(),
        [&](const Bucket& other) { return other.kind == kind && other.group == group; });
    if (bucket == clock.buckets.end()) {
      bucket = clock.buckets.insert(bucket, Bucket{kind, group});
    } else if (!queued || bucket->bytes + bytes > cluster_.bucket_bytes) {
      *bucket = {kind, group};
    }
    bucket->bytes += bytes;
    const double before = bucket->seconds;
    bucket->seconds = CollectiveSeconds(cluster_, kind, bucket->bytes, shape);
    return std::max(0.0, bucket->seconds - before);
  }

  // Groups of nodes that read nothing but state, and what such groups make.
  void FindEarly() {
    std::vector<bool>& state = state_;
    state.assign(graph_.values.size(), false);
    for (const Input& input : graph_.inputs) {
      state[input.value] = input.kind == InputKind::kSlot || input.kind == InputKind::kScalar;
    }
    early_.assign(groups_.groups.size(), false);
    for (uint32_t group = 0; group < groups_.groups.size(); ++group) {
      bool early = true;
      for (uint32_t i : groups_.groups[group]) {
        const Node& node = graph_.nodes[i];
        early = early && !node.inputs.empty() && !IsCollective(node.op) &&
                std::all_of(node.inputs.begin(), node.inputs.end(),
                            [&](ValueId input) { return bool(state[input]); });
        for (uint32_t k = 0; k < node.output_count; ++k) state[node.first_output + k] = early;
      }
      early_[group] = early;
    }
  }

  // The group after which each value is not read any more, and whose bytes it is: a view counts for
  // what it looks at.
  struct Lifetimes {
    std::vector<ValueId> root;
    std::vector<uint32_t> last;
  };

  Lifetimes FindLifetimes() const {
    Lifetimes lifetimes;
    lifetimes.root.resize(graph_.values.size());
    for (ValueId value = 0; value < lifetimes.root.size(); ++value) lifetimes.root[value] = value;
    const uint32_t end = uint32_t(groups_.groups.size());
    lifetimes.last.assign(graph_.values.size(), 0);
    for (uint32_t group = 0; group < end; ++group) {
      for (uint32_t i : groups_.groups[group]) {
        const Node& node = graph_.nodes[i];
        for (ValueId input : node.inputs) lifetimes.last[lifetimes.root[input]] = group;
        if (IsView(node) && !node.inputs.empty()) {
          lifetimes.root[node.first_output] = lifetimes.root[node.inputs[0]];
        }
      }
    }
    for (const Output& output : graph_.outputs) {
      // What replaces a slot is given its memory.
      if (output.kind != OutputKind::kSlot) lifetimes.last[lifetimes.root[output.value]] = end;
    }
    return lifetimes;
  }

  // Calls visit(value, group that makes it) for all that takes memory of its own: not what lives
  // inside one kernel, nor views, nor what comes from outside.
  template <typename Visit>
  void VisitTemporaries(const Lifetimes& lifetimes, const Visit& visit) const {
    std::vector<bool> outside(graph_.values.size(), false);
    for (const Input& input : graph_.inputs) outside[input.value] = true;
    for (uint32_t group = 0; group < groups_.groups.size(); ++group) {
      for (uint32_t i : groups_.groups[group]) {
        const Node& node = graph_.nodes[i];
        for (uint32_t k = 0; k < node.output_count; ++k) {
          const ValueId value = node.first_output + k;
          if (lifetimes.root[value] != value || outside[value]) continue;
          if (lifetimes.last[value] > group) visit(value, group);
        }
      }
    }
  }

  // The most that is alive at once, of values with these lifetimes [made, last).
  class Alive {
   public:
    explicit Alive(size_t groups) : change_(groups + 2, 0) {}
    void Add(uint32_t made, uint32_t last, int64_t bytes) {
      change_[made] += bytes;
      change_[last + 1] -= bytes;
    }
    int64_t Most(size_t first, size_t end) const {
      int64_t alive = 0, most = 0;
      for (size_t group = 0; group < end; ++group) {
        alive += change_[group];
        if (group >= first) most = std::max(most, alive);
      }
      return most;
    }

   private:
    std::vector<int64_t> change_;
  };

  // Micro-batches come one after the other: what lives in one only is there once, what is made in
  // one and read behind all (sums of gradients) is there during all the others, and what was made
  // before them and is read by them too. What the sums become takes their place. On a stage of a
  // pipeline several are on their way: what goes from the way there to the way back is there for
  // each.
  void FindMemory(int64_t in_flight) {
    for (const Input& input : graph_.inputs) {
      const int64_t bytes = types_[input.value].bytes();
      if (input.kind == InputKind::kSlot) cost_.state += bytes;
      if (input.kind == InputKind::kFeed || input.kind == InputKind::kValue) {
        cost_.temporaries += bytes;
      }
    }
    const Lifetimes lifetimes = FindLifetimes();
    const size_t end = groups_.groups.size();
    const auto turn_of = [&](uint32_t group) { return turns_[groups_.groups[group].back()]; };
    size_t first_in_loop = end, behind_loop = 0, back = end;
    for (uint32_t group = 0; options_.micro_batches > 1 && group < end; ++group) {
      if (turn_of(group) == NodeTurn::kOnce) continue;
      first_in_loop = std::min<size_t>(first_in_loop, group);
      behind_loop = group + 1;
      if (turn_of(group) == NodeTurn::kBackward) back = std::min<size_t>(back, group);
    }
    const auto in_loop = [&](uint32_t group) {
      return group < end && options_.micro_batches > 1 && turn_of(group) != NodeTurn::kOnce;
    };
    Alive all(end), of_one(end);
    int64_t during_all = 0, crossing = 0;
    VisitTemporaries(lifetimes, [&](ValueId value, uint32_t made) {
      const uint32_t last = std::min<uint32_t>(lifetimes.last[value], uint32_t(end));
      const int64_t bytes = types_[value].bytes();
      all.Add(made, last, bytes);
      if (last < first_in_loop || made >= behind_loop) return;
      if (in_loop(made) && in_loop(last)) {
        of_one.Add(made, last, bytes);
        if (made < back && last >= back) crossing += bytes;
      } else if (in_loop(made) || in_loop(last) || made < first_in_loop) {
        during_all += bytes;
      }
    });
    // The way through one chunk is in flight so many times; once through all chunks is counted.
    const int64_t extra = std::max<int64_t>(0, in_flight - options_.virtual_stages);
    const int64_t loop = during_all + of_one.Most(first_in_loop, behind_loop) +
                         extra * crossing / options_.virtual_stages;
    cost_.temporaries += std::max(loop, all.Most(0, end));
  }

  const Cluster& cluster_;
  const DeviceGraph& part_;
  const Graph& graph_;
  const std::vector<NodeTurn>& turns_;
  const std::vector<TensorType> types_;
  const EvaluateOptions options_;
  const KernelGroups groups_;
  std::vector<bool> state_;  // by value: state, or made of it alone on this device
  std::vector<bool> early_;  // by group: makes such values
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
    const int64_t chunks = stages * options.virtual_stages;
    const int64_t in_flight = stages == 1 ? 1
                                          : std::min(options.micro_batches * options.virtual_stages,
                                                     MicroBatchesInFlight(stages, chunks, stage));
    StageCost own =
        Evaluation(cluster, partitioned, size_t(stage), std::move(types), options).Run(in_flight);
    sum += own.micro_batch;
    slowest = std::max(slowest, own.micro_batch);
    once = std::max(once, own.once);
    all_once += own.once;
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
