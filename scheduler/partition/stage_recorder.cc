#include "scheduler/partition/stage_recorder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/partition/localize.h"
#include "scheduler/partition/vocabulary_loss.h"

namespace moai {
namespace {

constexpr ValueId kNotYet = UINT32_MAX;

bool IsShard(const AxisPlacement& placement) { return placement.kind == PlacementKind::kShard; }
bool IsPartial(const AxisPlacement& placement) { return placement.kind == PlacementKind::kPartial; }

// Whether something split is whole afterwards.
bool Gathers(const Placement& from, const Placement& to) {
  for (size_t axis = 0; axis < from.size(); ++axis) {
    if (IsShard(from[axis]) && to[axis].kind == PlacementKind::kReplicate) return true;
  }
  return false;
}

Op JoinOp(ReduceKind reduce) {
  switch (reduce) {
    case ReduceKind::kMax:
      return Op::kMaximum;
    case ReduceKind::kMin:
      return Op::kMinimum;
    case ReduceKind::kProd:
      return Op::kMul;
    case ReduceKind::kAnd:
      return Op::kAnd;
    case ReduceKind::kOr:
      return Op::kOr;
    case ReduceKind::kSum:
    case ReduceKind::kNone:
      break;
  }
  return Op::kAdd;
}

}  // namespace

StageRecorder::StageRecorder(const PartitionFacts& facts, std::vector<int64_t> devices)
    : facts_(facts),
      graph_(facts.graph()),
      time_(facts.time()),
      builder_(devices.size()),
      at_{&facts.request().mesh, std::move(devices), facts.request().micro_batches, 0},
      states_(graph_.values.size()) {}

void StageRecorder::AddInputs(const std::vector<bool>& present) {
  for (size_t i = 0; i < graph_.inputs.size(); ++i) {
    const Input& input = graph_.inputs[i];
    const Placement where = facts_.OfGraphInput(i);
    const Shape& whole = facts_.whole(input.value);
    std::vector<Shape> shapes;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      shapes.push_back(present[i] ? LocalShapeAt(whole, where, at_, device)
                                  : Shape::Filled(whole.rank(), 0));
    }
    const ValueId id =
        builder_.AddInput(input.kind, input.index, graph_.values[input.value].dtype, shapes);
    if (present[i]) states_[input.value].versions.push_back({where, {id}});
  }
}

StageRecorder::Version* StageRecorder::Find(State& state, const Placement& where) {
  for (Version& version : state.versions) {
    if (version.where == where) return &version;
  }
  return nullptr;
}

StageRecorder::Version& StageRecorder::Store(State& state, const Placement& where, ValueId id) {
  Version* version = Find(state, where);
  if (version == nullptr) {
    state.versions.push_back({where, {}, 0});
    version = &state.versions.back();
    // In a sample the first micro-batch is the only one.
    const bool several = facts_.SplitInTime(where) && !facts_.request().sample;
    version->ids.resize(several ? size_t(at_.micro_batches) : 1, kNotYet);
  }
  version->ids[Slot(where)] = id;
  return *version;
}

void StageRecorder::MarkNodes(bool in_micro_batch) {
  const NodeTurn turn = !in_micro_batch ? NodeTurn::kOnce
                        : backward_     ? NodeTurn::kBackward
                                        : NodeTurn::kMicroBatch;
  turns_.resize(builder_.graph().nodes.size(), turn);
}

ValueId StageRecorder::Recorded(ValueId value, const Placement& want) {
  const Version* there = Find(states_[value], want);
  return there == nullptr || Expired(*there) ? kNotYet : there->ids[Slot(want)];
}

// The value as `want` says, for the micro-batch at hand.
absl::StatusOr<ValueId> StageRecorder::Get(ValueId value, const Placement& want) {
  if (const ValueId id = Recorded(value, want); id != kNotYet) return id;
  MOAI_RETURN_IF_ERROR(FlushFor(value));
  if (const ValueId id = Recorded(value, want); id != kNotYet) return id;
  MarkNodes(in_loop_);
  const Version* source = Cheapest(value, want);
  const PartitionRequest& request = facts_.request();
  const bool each = facts_.SplitInTime(want) || at_.micro_batches == 1;
  const bool may_again =
      facts_.is_state(value) ? request.gather_again : each && request.gather_values_again;
  const bool again = may_again && source != nullptr && Gathers(source->where, want);
  MOAI_ASSIGN_OR_RETURN(const ValueId id, Make(value, want));
  // What is whole along time is made once, by whichever micro-batch needs it first.
  MarkNodes(again ? in_loop_ : facts_.SplitInTime(want));
  Store(states_[value], want, id).period = again ? period_ : 0;
  return id;
}

absl::StatusOr<ValueId> StageRecorder::Make(ValueId value, const Placement& want) {
  if (const Version* source = Cheapest(value, want)) {
    const Placement from = source->where;
    return Redistribute(builder_, source->ids[Slot(want)], facts_.whole(value), from, want, at_);
  }
  if (!facts_.SplitInTime(want)) {
    MOAI_RETURN_IF_ERROR(Join(value));
    MarkNodes(false);
    return Get(value, want);
  }
  if (!IsShard(want[size_t(time_)])) {
    return absl::InternalError(absl::StrCat("value ", value, " is wanted as ",
                                            ToString(want[size_t(time_)]), " along time"));
  }
  const Placement open = facts_.OpenInTime(want);
  Placement whole = open;
  whole[size_t(time_)] = {};
  MOAI_ASSIGN_OR_RETURN(const ValueId all, Get(value, whole));
  MOAI_ASSIGN_OR_RETURN(
      const ValueId micro_batch,
      SliceLocally(builder_, all, facts_.whole(value), whole, time_, want[size_t(time_)], at_));
  return Redistribute(builder_, micro_batch, facts_.whole(value), open, want, at_);
}

// What is there already and costs least to move, without micro-batches being put together.
const StageRecorder::Version* StageRecorder::Cheapest(ValueId value, const Placement& want) const {
  const Version* best = nullptr;
  double least = 0;
  for (const Version& version : states_[value].versions) {
    if (version.ids[Slot(version.where)] == kNotYet || Expired(version)) continue;
    if (facts_.SplitInTime(version.where) != facts_.SplitInTime(want) ||
        facts_.ThroughWhole(version.where, want)) {
      continue;
    }
    const double cost = RedistributionBytes(double(facts_.request().types[value].bytes()),
                                            version.where, want, facts_.request().mesh);
    if (best == nullptr || cost < least) {
      best = &version;
      least = cost;
    }
  }
  return best;
}

// Puts the micro-batches of a value together, where it lies as it was made.
absl::Status StageRecorder::Join(ValueId value) {
  State& state = states_[value];
  if (state.versions.empty() || !facts_.SplitInTime(state.versions[0].where)) {
    return absl::InternalError(absl::StrCat("value ", value, " is not there"));
  }
  const Version made = state.versions[0];
  const bool parts = IsShard(made.where[size_t(time_)]);
  Placement whole = parts ? facts_.OpenInTime(made.where) : facts_.SumPlace(value);
  whole[size_t(time_)] = {};
  ValueId id = state.sum;
  if (parts) {
    MOAI_ASSIGN_OR_RETURN(id, Concat(value, made));
  }
  if (id == kNotYet) {
    return absl::InternalError(absl::StrCat("terms of value ", value, " were not summed"));
  }
  Store(state, whole, id);
  return absl::OkStatus();
}

DeviceExtents StageRecorder::ExtentsOf(ValueId value, const Placement& where) const {
  DeviceExtents extents;
  for (size_t device = 0; device < builder_.devices(); ++device) {
    const Shape shape = LocalShapeAt(facts_.whole(value), where, at_, device);
    extents.push_back({shape.begin(), shape.end()});
  }
  return extents;
}

// Micro-batches of a sample are alike: the first repeated has the type of all, which is what
// counts.
absl::StatusOr<ValueId> StageRecorder::RepeatSample(ValueId value, const Version& made) {
  const Placement open = facts_.OpenInTime(made.where);
  const Shape& shape_of_all = facts_.whole(value);
  MOAI_ASSIGN_OR_RETURN(const ValueId piece,
                        Redistribute(builder_, made.ids[0], shape_of_all, made.where, open, at_));
  MOAI_ASSIGN_OR_RETURN(const ValueId view,
                        ViewAround(builder_, piece, shape_of_all, open, time_, at_));
  DeviceExtents one, all;
  for (size_t device = 0; device < builder_.devices(); ++device) {
    const Shape& shape = builder_.shape(view, device);
    one.push_back({shape[0], 1, shape[1], shape[2]});
    all.push_back({shape[0], at_.micro_batches, shape[1], shape[2]});
  }
  MOAI_ASSIGN_OR_RETURN(ValueId id, builder_.AddNode(Op::kReshape, {view}, {4}, one));
  MOAI_ASSIGN_OR_RETURN(id, builder_.AddNode(Op::kBroadcast, {id}, {4, 0, 1, 2, 3}, all));
  Placement whole = open;
  whole[size_t(time_)] = {};
  return builder_.AddNode(Op::kReshape, {id}, {shape_of_all.rank()}, ExtentsOf(value, whole));
}

absl::StatusOr<ValueId> StageRecorder::Concat(ValueId value, const Version& made) {
  if (facts_.request().sample) return RepeatSample(value, made);
  const AxisPlacement& factor = made.where[size_t(time_)];
  const Shape& shape = facts_.whole(value);
  const bool plain = factor.outer == 1;
  const Placement open = facts_.OpenInTime(made.where);
  const int64_t micro_batch = at_.micro_batch;
  std::vector<ValueId> pieces;
  for (int64_t i = 0; i < at_.micro_batches; ++i) {
    ValueId piece = made.ids[size_t(i)];
    if (piece == kNotYet) return absl::InternalError("a micro-batch is missing");
    at_.micro_batch = i;
    MOAI_ASSIGN_OR_RETURN(piece, Redistribute(builder_, piece, shape, made.where, open, at_));
    if (!plain) {
      MOAI_ASSIGN_OR_RETURN(piece, ViewAround(builder_, piece, shape, open, time_, at_));
    }
    pieces.push_back(piece);
  }
  at_.micro_batch = micro_batch;
  MOAI_ASSIGN_OR_RETURN(const ValueId joined,
                        builder_.AddNode(Op::kConcat, pieces, {plain ? factor.dim : 1}));
  if (plain) return joined;
  Placement whole = open;
  whole[size_t(time_)] = {};
  return builder_.AddNode(Op::kReshape, {joined}, {shape.rank()}, ExtentsOf(value, whole));
}

absl::Status StageRecorder::EmitNode(uint32_t node) {
  in_loop_ = facts_.InLoop(node);
  const bool behind = node > facts_.request().turn;
  period_ = 1 + 2 * (in_loop_ ? at_.micro_batch + 1 : 0) + (behind ? 1 : 0);
  const absl::Status status = EmitOne(node);
  MarkNodes(in_loop_);
  MarkSources(node);
  in_loop_ = false;
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("node ", node, " (", Name(graph_.nodes[node].op),
                                                  "): ", status.message()));
}

absl::Status StageRecorder::EmitOne(uint32_t node) {
  const Node& n = graph_.nodes[node];
  std::vector<ValueId> inputs;
  std::vector<Placement> input_places, output_places;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    input_places.push_back(facts_.InputOf(node, i));
    MOAI_ASSIGN_OR_RETURN(const ValueId id, Get(n.inputs[i], input_places.back()));
    inputs.push_back(id);
  }
  for (uint32_t i = 0; i < n.output_count; ++i) output_places.push_back(facts_.OutputOf(node, i));
  if (SplitsClasses(n, input_places)) {
    const TensorType& whole = facts_.request().types[n.inputs[0]];
    MOAI_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                          RecordSplitLoss(builder_, n, inputs, input_places, whole, at_));
    return StoreAll(n, output_places, made);
  }
  const bool divided_mean = facts_.DividesMean(node);
  const DeviceExtents extents =
      LocalExtents(n, Extents(n, facts_.request().sizes), facts_.request().types, input_places,
                   output_places, at_);
  MOAI_ASSIGN_OR_RETURN(ValueId first, builder_.AddNode(divided_mean ? Op::kReduceSum : n.op,
                                                        inputs, n.attributes, extents, n.numbers));
  if (divided_mean) {
    double elements = 1;
    for (int32_t axis : n.attributes) elements *= double(facts_.whole(n.inputs[0])[axis]);
    const ValueId scale = builder_.AddConstant(builder_.dtype(first), 1 / elements);
    MOAI_ASSIGN_OR_RETURN(first, builder_.AddNode(Op::kMul, {first, scale}));
  }
  std::vector<ValueId> made;
  for (uint32_t i = 0; i < n.output_count; ++i) made.push_back(first + i);
  return StoreAll(n, output_places, made);
}

absl::Status StageRecorder::StoreAll(const Node& node, absl::Span<const Placement> places,
                                     absl::Span<const ValueId> made) {
  for (uint32_t i = 0; i < node.output_count; ++i) {
    MOAI_RETURN_IF_ERROR(StoreMade(node.first_output + i, places[i], made[i], /*home=*/true));
  }
  return absl::OkStatus();
}

absl::Status StageRecorder::StoreMade(ValueId value, const Placement& where, ValueId id,
                                      bool home) {
  Store(states_[value], where, id);
  const bool terms = facts_.summed(value);
  if (terms) MOAI_RETURN_IF_ERROR(AddTerm(value, where, id));
  const Placement* want = facts_.first_want(value);
  if (!home || want == nullptr || (terms && !AtLastMicroBatch())) return absl::OkStatus();
  Placement from = terms ? facts_.SumPlace(value) : where;
  if (terms) from[size_t(time_)] = {};
  if (const int axis = SumAxis(from, *want); axis >= 0) {
    return AddToBucket({value, from, *want}, axis);
  }
  return Get(value, *want).status();
}

int StageRecorder::SumAxis(const Placement& from, const Placement& want) const {
  if (facts_.request().bucket_bytes == 0 || facts_.SplitInTime(from)) return -1;
  int sum = -1;
  for (int axis = 0; axis <= time_; ++axis) {
    if (from[size_t(axis)] == want[size_t(axis)]) continue;
    if (sum >= 0 || !IsPartial(from[size_t(axis)]) || IsShard(want[size_t(axis)])) return -1;
    sum = axis;
  }
  return sum;
}

absl::Status StageRecorder::AddToBucket(const PendingSum& sum, int axis) {
  const ReduceKind reduce = sum.from[size_t(axis)].reduce;
  const Dtype dtype = graph_.values[sum.value].dtype;
  auto bucket = std::find_if(buckets_.begin(), buckets_.end(), [&](const Bucket& other) {
    return other.axis == axis && other.reduce == reduce && other.dtype == dtype;
  });
  if (bucket == buckets_.end()) {
    bucket = buckets_.insert(bucket, {.axis = axis, .reduce = reduce, .dtype = dtype});
  }
  bucket->sums.push_back(sum);
  bucket->bytes +=
      ByteSize(dtype) * LocalShapeAt(facts_.whole(sum.value), sum.from, at_, 0).elements();
  if (bucket->bytes < facts_.request().bucket_bytes) return absl::OkStatus();
  Bucket full = std::move(*bucket);
  buckets_.erase(bucket);
  return Flush(std::move(full));
}

absl::Status StageRecorder::FlushFor(ValueId value) {
  for (auto bucket = buckets_.begin(); bucket != buckets_.end(); ++bucket) {
    const bool waits = std::any_of(bucket->sums.begin(), bucket->sums.end(),
                                   [&](const PendingSum& sum) { return sum.value == value; });
    if (!waits) continue;
    Bucket due = std::move(*bucket);
    buckets_.erase(bucket);
    return Flush(std::move(due));
  }
  return absl::OkStatus();
}

// One after the other in one flat tensor, summed, and taken apart again.
absl::Status StageRecorder::Flush(Bucket bucket) {
  if (bucket.sums.size() == 1) return Get(bucket.sums[0].value, bucket.sums[0].want).status();
  std::vector<ValueId> flat;
  for (const auto& [value, from, want] : bucket.sums) {
    MOAI_ASSIGN_OR_RETURN(const ValueId id, Get(value, from));
    DeviceExtents elements;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      elements.push_back({builder_.shape(id, device).elements()});
    }
    MOAI_ASSIGN_OR_RETURN(flat.emplace_back(), builder_.AddNode(Op::kReshape, {id}, {1}, elements));
  }
  MOAI_ASSIGN_OR_RETURN(ValueId sum, builder_.AddNode(Op::kConcat, flat, {0}));
  MOAI_ASSIGN_OR_RETURN(
      sum, builder_.AddNode(Op::kAllReduce, {sum}, {bucket.axis, int32_t(bucket.reduce)}));
  std::vector<int64_t> begin(builder_.devices(), 0);
  for (size_t i = 0; i < flat.size(); ++i) {
    const auto& [value, from, want] = bucket.sums[i];
    DeviceExtents part;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      const int64_t end = begin[device] + builder_.shape(flat[i], device).elements();
      part.push_back({begin[device], end, 1});
      begin[device] = end;
    }
    MOAI_ASSIGN_OR_RETURN(ValueId id, builder_.AddNode(Op::kSlice, {sum}, {}, part));
    MOAI_ASSIGN_OR_RETURN(id, builder_.AddNode(Op::kReshape, {id}, {facts_.whole(value).rank()},
                                               ExtentsOf(value, want)));
    Store(states_[value], want, id);
  }
  MarkNodes(false);
  return absl::OkStatus();
}

// Terms are summed as they come, so that one is alive besides the sum.
absl::Status StageRecorder::AddTerm(ValueId value, const Placement& where, ValueId id) {
  State& state = states_[value];
  MOAI_ASSIGN_OR_RETURN(
      id, Redistribute(builder_, id, facts_.whole(value), where, facts_.SumPlace(value), at_));
  const Op add = JoinOp(where[size_t(time_)].reduce);
  if (facts_.request().sample) {
    // Nearly all micro-batches that the sample stands for add to a sum.
    MOAI_ASSIGN_OR_RETURN(state.sum, builder_.AddNode(add, {id, id}));
  } else if (state.sum == kNotYet) {
    state.sum = id;
  } else {
    MOAI_ASSIGN_OR_RETURN(state.sum, builder_.AddNode(add, {state.sum, id}));
  }
  return absl::OkStatus();
}

bool StageRecorder::AtLastMicroBatch() const {
  return facts_.request().sample || at_.micro_batch + 1 == at_.micro_batches;
}

absl::Status StageRecorder::Send(ValueId value, int32_t group) {
  MOAI_ASSIGN_OR_RETURN(const ValueId id, Get(value, facts_.made(value)));
  MOAI_RETURN_IF_ERROR(builder_.AddNode(Op::kSend, {id}, {group}).status());
  MarkNodes(facts_.SplitInTime(facts_.made(value)));
  MarkSources(facts_.producer(value));
  return absl::OkStatus();
}

absl::StatusOr<ValueId> StageRecorder::AddReceive(ValueId value, const Placement& where,
                                                  int32_t group) {
  return builder_.AddNode(Op::kRecv, {},
                          {int32_t(graph_.values[value].dtype), group, facts_.whole(value).rank()},
                          ExtentsOf(value, where));
}

absl::Status StageRecorder::Receive(ValueId value, int32_t group) {
  const Placement& where = facts_.made(value);
  MOAI_ASSIGN_OR_RETURN(const ValueId id, AddReceive(value, where, group));
  MOAI_RETURN_IF_ERROR(StoreMade(value, where, id, /*home=*/false));
  MarkNodes(facts_.SplitInTime(where));
  MarkSources(facts_.producer(value));
  return absl::OkStatus();
}

absl::Status StageRecorder::SendSum(ValueId value, int32_t group) {
  const ValueId sum = states_[value].sum;
  if (sum == kNotYet) return absl::InternalError(absl::StrCat("value ", value, " has no sum"));
  MarkNodes(true);
  MOAI_RETURN_IF_ERROR(builder_.AddNode(Op::kSend, {sum}, {group}).status());
  MarkNodes(false);
  MarkSources(facts_.producer(value));
  return absl::OkStatus();
}

absl::Status StageRecorder::ReceiveSum(ValueId value, int32_t group) {
  Placement where = facts_.SumPlace(value);
  where[size_t(time_)] = {};
  MOAI_ASSIGN_OR_RETURN(const ValueId id, AddReceive(value, where, group));
  Store(states_[value], where, id);
  MarkNodes(false);
  MarkSources(facts_.producer(value));
  return absl::OkStatus();
}

absl::Status StageRecorder::AddOutput(size_t index, bool present) {
  const Output& output = graph_.outputs[index];
  if (present) {
    at_.micro_batch = 0;
    MOAI_ASSIGN_OR_RETURN(const ValueId id, Get(output.value, facts_.OfGraphOutput(index)));
    builder_.AddOutput(output.kind, id, output.index);
  } else {
    // An empty tensor: nothing is stored. Its element would be zero.
    const Dtype dtype = graph_.values[output.value].dtype;
    const int rank = facts_.whole(output.value).rank();
    if (rank == 0) {
      // A number cannot be empty; what stands for it here is read by nobody.
      builder_.AddOutput(output.kind, builder_.AddConstant(dtype, 0), output.index);
    } else {
      const ValueId zero = builder_.AddConstant(dtype, 0);
      const std::vector<int64_t> empty(size_t(rank), 0);
      MOAI_ASSIGN_OR_RETURN(const ValueId id, builder_.AddNode(Op::kFill, {zero}, {rank}, {empty}));
      builder_.AddOutput(output.kind, id, output.index);
    }
  }
  MarkNodes(false);
  MarkSources(facts_.producer(output.value));
  return absl::OkStatus();
}

std::vector<DeviceGraph> StageRecorder::Finish(std::vector<std::vector<DeviceGroup>> groups) {
  return builder_.Finish(std::move(groups));
}

}  // namespace moai
