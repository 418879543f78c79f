#include "scheduler/planning/stage_sample.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "graph/op_schema.h"
#include "scheduler/cost/collective_cost.h"
#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

using Position = ReducedGraph::Position;

constexpr uint32_t kNoSource = PartitionedGraph::kNoSource;
constexpr uint32_t kNoNode = UINT32_MAX;
// Bytes that a core copies and adds for a sum that goes on beside kernels, which want the core too:
// through memory there is nothing to gain, over a slower link nearly all of it.
constexpr double kSumBytesPerSecond = 2e9;

double WeightOf(const StageWeights* weights, uint32_t source) {
  return weights == nullptr || source == kNoSource ? 1 : double(weights->nodes[source]);
}

}  // namespace

// Two streams of one device: kernels and collectives, each in order.
struct Clock {
  // Collectives of one kind and group that were issued together.
  struct Bucket {
    Op op;
    int32_t group;
    double bytes = 0;
    double seconds = 0;
  };

  double kernels = 0;
  double collectives = 0;
  double idle = 0;              // of the collectives' stream, so far
  std::vector<Bucket> buckets;  // the last of each kind and group
  double now() const { return std::max(kernels, collectives); }
};

StageSample::StageSample(const Cluster& cluster, const PartitionedGraph& partitioned, size_t part,
                         absl::Span<const TensorType> types, const EvaluateOptions& options,
                         const ReducedGraph* reduced)
    : cluster_(cluster),
      partitioned_(partitioned),
      part_(part),
      graph_(*partitioned.parts[part].graph),
      types_(types),
      options_(options),
      reduced_(reduced),
      groups_(GroupFusedNodes(graph_, types_)) {
  for (const DeviceGroup& group : partitioned.parts[part].groups) {
    shapes_.push_back(GroupOf(cluster_, group));
  }
  FindEarly();
  FindKernels();
  FindLives();
}

// Groups of nodes that read nothing but state, and what such groups make.
void StageSample::FindEarly() {
  state_.assign(graph_.values.size(), false);
  for (const Input& input : graph_.inputs) {
    state_[input.value] = input.kind == InputKind::kSlot || input.kind == InputKind::kScalar;
  }
  early_.assign(groups_.groups.size(), false);
  for (uint32_t group = 0; group < groups_.groups.size(); ++group) {
    bool early = true;
    for (uint32_t i : groups_.groups[group]) {
      const Node& node = graph_.nodes[i];
      early = early && !node.inputs.empty() && !IsCollective(node.op) &&
              std::all_of(node.inputs.begin(), node.inputs.end(),
                          [&](ValueId input) { return bool(state_[input]); });
      for (uint32_t k = 0; k < node.output_count; ++k) state_[node.first_output + k] = early;
    }
    early_[group] = early;
  }
}

void StageSample::FindKernels() {
  const std::vector<uint32_t>& sources = partitioned_.sources[part_];
  for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
    if (sources[node] == kNoSource) continue;
    if (made_by_.size() <= sources[node]) made_by_.resize(sources[node] + 1, kNoNode);
    made_by_[sources[node]] = node;
  }
  kernels_.resize(groups_.groups.size());
  for (uint32_t group = 0; group < groups_.groups.size(); ++group) {
    const uint32_t last = groups_.groups[group].back();
    Kernel& kernel = kernels_[group];
    kernel.source = sources[last];
    kernel.repeats = InMicroBatch(group) ? double(options_.micro_batches) : 1;
    CostKernel(group, kernel);
    if (options_.micro_batches > 1) AddSums(group, kernel);
  }
  Schedule(/*micro_batch_only=*/false);
  if (options_.micro_batches > 1) Schedule(/*micro_batch_only=*/true);
}

double StageSample::CollectiveBytes(const Node& node) const {
  const double in = node.inputs.empty() ? 0 : double(types_[node.inputs[0]].bytes());
  return std::max(in, double(types_[node.first_output].bytes()));
}

void StageSample::CostKernel(uint32_t group, Kernel& kernel) const {
  const Node& node = graph_.nodes[groups_.groups[group].back()];
  if (!IsCollective(node.op)) {
    const KernelCost cost = CostOfGroup(cluster_.device, graph_, types_, groups_, group);
    kernel.flops = cost.flops;
    kernel.compute = cost.seconds;
    return;
  }
  const CollectiveKind kind = *CollectiveKindOf(node.op);
  const double bytes = CollectiveBytes(node);
  const GroupShape& shape = shapes_[size_t(node.attributes[Schema(node.op).group_attribute])];
  kernel.communication = CollectiveSeconds(cluster_, kind, bytes, shape);
  const double p = double(shape.size()), share = (p - 1) / p;
  kernel.sent_bytes = bytes * share * (kind == CollectiveKind::kAllReduce ? 2 : 1);
}

// What is summed over micro-batches is added to the sum once it is made.
void StageSample::AddSums(uint32_t group, Kernel& kernel) const {
  for (uint32_t i : groups_.groups[group]) {
    if (!partitioned_.makes_terms[part_][i]) continue;
    const TensorType& type = types_[graph_.nodes[i].first_output];
    const double elements = double(type.shape.elements());
    kernel.flops += elements;
    kernel.compute += StreamingSeconds(cluster_.device, elements, 3 * double(type.bytes()));
  }
}

// The nodes in order. In a sample the nodes of the micro-batch stand for all: their steady state is
// what they take by themselves.
void StageSample::Schedule(bool micro_batch_only) {
  Clock clock;
  std::vector<double> ready(graph_.values.size(), 0);
  for (uint32_t group = 0; group < groups_.groups.size(); ++group) {
    const std::vector<uint32_t>& nodes = groups_.groups[group];
    if (micro_batch_only && !InMicroBatch(group)) continue;
    Kernel& kernel = kernels_[group];
    double start = 0;
    for (uint32_t node : nodes) {
      for (ValueId input : graph_.nodes[node].inputs) start = std::max(start, ready[input]);
    }
    const double before = clock.now();
    double end = start;
    if (IsCollective(graph_.nodes[nodes.back()].op)) {
      end = RunCollective(group, start, clock);
    } else {
      clock.kernels = std::max(clock.kernels, start) + kernel.compute;
      end = kernel.compute == 0 ? start : clock.kernels;
      // What is made of state alone does not have to wait for its turn: parameters can be on their
      // way before the nodes that need them.
      if (options_.overlap == Overlap::kAll && early_[group]) end = start + kernel.compute;
    }
    (micro_batch_only ? kernel.micro_batch : kernel.step) = clock.now() - before;
    for (uint32_t node : nodes) {
      for (uint32_t k = 0; k < graph_.nodes[node].output_count; ++k) {
        ready[graph_.nodes[node].first_output + k] = end;
      }
    }
  }
}

double StageSample::RunCollective(uint32_t group, double start, Clock& clock) {
  Kernel& kernel = kernels_[group];
  const Node& node = graph_.nodes[groups_.groups[group].back()];
  const bool beside_kernels = options_.overlap == Overlap::kAll ||
                              (options_.overlap == Overlap::kSums && node.op == Op::kAllReduce);
  if (!beside_kernels) {
    clock.kernels = clock.collectives =
        std::max({clock.kernels, clock.collectives, start}) + kernel.communication;
    return clock.kernels;
  }
  if (options_.overlap == Overlap::kSums) {
    // Buckets are nodes of the graph already.
    clock.collectives = std::max(clock.collectives, start) + kernel.communication;
    clock.kernels += std::min(kernel.communication, kernel.sent_bytes / kSumBytesPerSecond);
    return clock.collectives;
  }
  // State can be on its way while nodes before run that do not need it.
  const bool early = !node.inputs.empty() && state_[node.inputs[0]];
  const double earliest = early ? clock.kernels : start;
  clock.idle += std::max(0.0, earliest - clock.collectives);
  const double seconds = SecondsInBucket(node, /*queued=*/start <= clock.collectives, clock);
  kernel.communication = seconds;
  clock.collectives = std::max(clock.collectives, earliest);
  const double before = early ? std::min(clock.idle, seconds) : 0;
  clock.idle -= before;
  clock.collectives += seconds - before;
  // Kernels beside which a collective runs take longer.
  const double beside = std::min(seconds, std::max(before, clock.kernels - start));
  clock.kernels += beside * (cluster_.overlap_slowdown - 1);
  return seconds > 0 && before == seconds ? start : clock.collectives;
}

// A collective that waits for its turn is issued together with the one before it of its kind and
// group, up to a size: then it pays for its bytes only.
double StageSample::SecondsInBucket(const Node& node, bool queued, Clock& clock) const {
  const int32_t group = node.attributes[Schema(node.op).group_attribute];
  const double bytes = CollectiveBytes(node);
  const auto seconds = [&](double size) {
    return CollectiveSeconds(cluster_, *CollectiveKindOf(node.op), size, shapes_[size_t(group)]);
  };
  if (cluster_.bucket_bytes <= 0) return seconds(bytes);
  auto bucket = std::find_if(
      clock.buckets.begin(), clock.buckets.end(),
      [&](const Clock::Bucket& other) { return other.op == node.op && other.group == group; });
  if (bucket == clock.buckets.end()) {
    bucket = clock.buckets.insert(bucket, {node.op, group});
  } else if (!queued || bucket->bytes + bytes > cluster_.bucket_bytes) {
    *bucket = {node.op, group};
  }
  bucket->bytes += bytes;
  const double before = bucket->seconds;
  bucket->seconds = seconds(bucket->bytes);
  return std::max(0.0, bucket->seconds - before);
}

void StageSample::FindLives() {
  // Bytes of a value that a view looks at count for the value.
  std::vector<ValueId> root(graph_.values.size());
  for (ValueId value = 0; value < root.size(); ++value) root[value] = value;
  std::vector<bool> outside(graph_.values.size(), false);  // inputs: not temporaries
  for (const Input& input : graph_.inputs) outside[input.value] = true;
  const uint32_t end = uint32_t(groups_.groups.size());
  std::vector<uint32_t> last(graph_.values.size(), 0);
  for (uint32_t group = 0; group < end; ++group) {
    for (uint32_t i : groups_.groups[group]) {
      const Node& node = graph_.nodes[i];
      for (ValueId input : node.inputs) last[root[input]] = group;
      if (IsView(node) && !node.inputs.empty()) root[node.first_output] = root[node.inputs[0]];
    }
  }
  std::vector<bool> read(graph_.slot_count, false);
  for (const Input& input : graph_.inputs) {
    if (input.kind == InputKind::kSlot) read[input.index] = true;
  }
  for (const Output& output : graph_.outputs) {
    // What replaces a slot is given its memory; what creates one stays.
    const bool replaces = output.kind == OutputKind::kSlot && read[output.index];
    if (!replaces) last[root[output.value]] = end;
  }
  for (uint32_t group = 0; group < end; ++group) {
    for (uint32_t i : groups_.groups[group]) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        const ValueId value = node.first_output + k;
        // Inside a kernel nothing reaches memory; a view has none of its own.
        if (root[value] != value || outside[value] || last[value] <= group) continue;
        lives_.push_back(
            {partitioned_.sources[part_][i], group, last[value], double(types_[value].bytes())});
      }
    }
  }
  deaths_.resize(lives_.size());
  std::iota(deaths_.begin(), deaths_.end(), 0);
  std::stable_sort(deaths_.begin(), deaths_.end(),
                   [&](uint32_t a, uint32_t b) { return lives_[a].last < lives_[b].last; });
}

ReducedGraph::Place StageSample::PlaceOf(uint32_t source) const {
  if (reduced_ == nullptr || source == kNoSource) return {};
  return reduced_->places[reduced_->graph.nodes[source].first_output];
}

// Of the blocks that one stands for, those that ran before, or are still to come, hold at any
// moment what the block's neighbour on that side holds.
template <typename Counts>
double StageSample::MostAlive(const StageWeights* weights, uint32_t first_kernel, uint32_t end,
                              const Counts& counts) const {
  // Of each row: what the others of its blocks would hold if they were like the block before, like
  // the one itself, like the one after.
  using Others = std::array<double, 3>;
  const size_t rows = reduced_ == nullptr ? 0 : reduced_->rows;
  std::vector<Others> others(rows, Others{});
  double alive = 0, most = 0;
  const auto add = [&](const Life& life, double sign) {
    const ReducedGraph::Place place = PlaceOf(life.source);
    const double weight = WeightOf(weights, life.source);
    if (place.position == Position::kOutside) {
      alive += sign * life.bytes * weight;
      return;
    }
    alive += sign * life.bytes * std::min(1.0, weight);
    const double more =
        weights == nullptr ? 0 : double(weights->nodes[reduced_->producer[place.inside]]) - 1;
    if (more <= 0) return;
    others[place.row][size_t(place.position) - 1] += sign * life.bytes * more;
  };
  size_t next = 0, dead = 0;
  for (uint32_t group = 0; group < kernels_.size(); ++group) {
    for (; next < lives_.size() && lives_[next].first == group; ++next) {
      if (counts(lives_[next])) add(lives_[next], 1);
    }
    const bool between = group >= first_kernel && group < end;
    if (between && WeightOf(weights, kernels_[group].source) > 0) {
      const ReducedGraph::Place here = PlaceOf(kernels_[group].source);
      double total = alive;
      for (size_t row = 0; row < rows; ++row) {
        const auto& [before, inside, after] = others[row];
        const Position position = here.row == row ? here.position : Position::kOutside;
        total += position == Position::kAfter    ? before
                 : position == Position::kBefore ? after
                 : position == Position::kInside ? std::max(before, after)
                                                 : inside;
      }
      most = std::max(most, total);
    }
    for (; dead < deaths_.size() && lives_[deaths_[dead]].last == group; ++dead) {
      if (counts(lives_[deaths_[dead]])) add(lives_[deaths_[dead]], -1);
    }
  }
  return most;
}

// Micro-batches come one after the other: what lives in one only is there once, what is made in one
// and read behind all (sums of gradients) is there during all the others, and what was made before
// them and is read by them too. What the sums become takes their place.
void StageSample::SumMemory(const StageWeights* weights, StageCost& stage) const {
  const uint32_t end = uint32_t(kernels_.size());
  const bool several = options_.micro_batches > 1;
  const auto in_loop = [&](uint32_t group) {
    return several && group < end && InMicroBatch(group);
  };
  uint32_t first_in_loop = end, behind_loop = 0, back = end;
  for (uint32_t group = 0; group < end; ++group) {
    if (!in_loop(group)) continue;
    first_in_loop = std::min(first_in_loop, group);
    behind_loop = group + 1;
    if (partitioned_.turns[part_][groups_.groups[group].back()] == NodeTurn::kBackward) {
      back = std::min(back, group);
    }
  }
  stage.most = MostAlive(weights, 0, end, [](const Life&) { return true; });
  stage.loop = MostAlive(weights, first_in_loop, behind_loop, [&](const Life& life) {
    return in_loop(life.first) && in_loop(life.last);
  });
  for (const Life& life : lives_) {
    if (life.last < first_in_loop || life.first >= behind_loop) continue;
    const double bytes = life.bytes * WeightOf(weights, life.source);
    if (in_loop(life.first) && in_loop(life.last)) {
      if (life.first < back && life.last >= back) stage.crossing += bytes;
    } else if (in_loop(life.first) || in_loop(life.last) || life.first < first_in_loop) {
      stage.loop += bytes;
    }
  }
}

StageCost StageSample::Sum(const StageWeights* weights) const {
  StageCost stage;
  StepCost& cost = stage.cost;
  for (const Kernel& kernel : kernels_) {
    const double weight = WeightOf(weights, kernel.source);
    stage.once += kernel.step * weight;
    stage.micro_batch += kernel.micro_batch * weight;
    const double times = kernel.repeats * weight;
    cost.compute += kernel.compute * times;
    cost.communication += kernel.communication * times;
    cost.flops += kernel.flops * times;
    cost.sent_bytes += kernel.sent_bytes * times;
  }
  stage.once = std::max(0.0, stage.once - stage.micro_batch);
  double state = 0, given = 0;
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    const Input& input = graph_.inputs[i];
    const bool client = weights != nullptr && i < weights->inputs.size();
    const double bytes =
        double(types_[input.value].bytes()) * (client ? double(weights->inputs[i]) : 1);
    if (input.kind == InputKind::kSlot) state += bytes;
    if (input.kind == InputKind::kFeed || input.kind == InputKind::kValue) given += bytes;
  }
  cost.state = int64_t(state);
  cost.temporaries = int64_t(given);
  SumMemory(weights, stage);
  return stage;
}

int64_t StageSample::MadeBytes(ValueId value) const {
  const uint32_t source = reduced_->producer[value];
  const uint32_t node = source < made_by_.size() ? made_by_[source] : kNoNode;
  if (node == kNoNode) return 0;
  const uint32_t k = value - reduced_->graph.nodes[source].first_output;
  const Node& made = graph_.nodes[node];
  return types_[made.first_output + (k < made.output_count ? k : 0)].bytes();
}

bool StageSample::MadeInMicroBatch(ValueId value) const {
  const uint32_t source = reduced_->producer[value];
  const uint32_t node = source < made_by_.size() ? made_by_[source] : kNoNode;
  return node != kNoNode && partitioned_.turns[part_][node] != NodeTurn::kOnce &&
         !partitioned_.summed[value];
}

}  // namespace moai
