#include "scheduler/partition/partitioner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/partition/devices_builder.h"
#include "scheduler/partition/localize.h"
#include "scheduler/partition/redistribute.h"

namespace moai {
namespace {

constexpr ValueId kNotYet = UINT32_MAX;

bool IsShard(const AxisPlacement& placement) { return placement.kind == PlacementKind::kShard; }

// A value in one placement. Along time: one id where it is whole, else one for each micro-batch.
struct Version {
  Placement where;  // time last
  std::vector<ValueId> ids;
};

struct State {
  std::vector<Version> versions;  // the first is how it was made
  uint32_t phase = 0;             // the loop over micro-batches in, or before, which it is made
  bool joined = false;            // somebody needs all micro-batches of it together
  ValueId sum = kNotYet;          // of the micro-batches so far, where they are terms
};

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

class Partitioner {
 public:
  explicit Partitioner(const PartitionRequest& request)
      : request_(request),
        graph_(*request.graph),
        time_(int(request.mesh.axes.size())),
        builder_(request.devices.size()),
        at_{&request.mesh, request.devices, request.micro_batches, 0},
        states_(graph_.values.size()) {}

  absl::StatusOr<PartitionedGraph> Run() {
    AddInputs();
    FindPhases();
    for (uint32_t phase = 0; phase <= last_phase_; ++phase) {
      at_.micro_batch = 0;
      for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
        if (phases_[node] == phase && !InLoop(node)) MOAI_RETURN_IF_ERROR(Emit(node));
      }
      for (int64_t i = 0; i < (request_.sample ? 1 : request_.micro_batches); ++i) {
        at_.micro_batch = i;
        for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
          if (phases_[node] == phase && InLoop(node)) MOAI_RETURN_IF_ERROR(Emit(node));
        }
      }
    }
    at_.micro_batch = 0;
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      const Output& output = graph_.outputs[i];
      Placement want = request_.outputs[i];
      want.resize(size_t(time_) + 1);
      MOAI_ASSIGN_OR_RETURN(const ValueId id, Get(output.value, want));
      builder_.AddOutput(output.kind, id, output.index);
    }
    std::vector<std::vector<DeviceGroup>> groups;
    for (int64_t device : request_.devices) {
      groups.emplace_back();
      for (int axis = 0; axis < time_; ++axis) {
        groups.back().push_back(request_.mesh.Group(device, axis));
      }
    }
    MarkNodes(Belongs::kOnce);
    PartitionedGraph result;
    for (Belongs node : belongs_) {
      result.in_micro_batch.push_back(node == Belongs::kMicroBatch);
    }
    result.parts = builder_.Finish(std::move(groups));
    return result;
  }

 private:
  enum class Belongs : uint8_t { kUnknown, kOnce, kMicroBatch };

  // Says of the nodes recorded since the mark before what they belong to.
  void MarkNodes(Belongs to) {
    belongs_.resize(builder_.graph().nodes.size(), Belongs::kUnknown);
    for (size_t i = belongs_.size(); i-- > 0 && belongs_[i] == Belongs::kUnknown;) {
      belongs_[i] = to;
    }
  }

  const NodeStrategy* StrategyOf(int axis, uint32_t node) const {
    return size_t(axis) < request_.strategies.size() ? &request_.strategies[axis][node] : nullptr;
  }
  bool InLoop(uint32_t node) const {
    const NodeStrategy* time = StrategyOf(time_, node);
    return time != nullptr && !time->whole();
  }

  Placement InputOf(uint32_t node, size_t input) const {
    Placement placement(size_t(time_) + 1);
    for (int axis = 0; axis <= time_; ++axis) {
      if (const NodeStrategy* strategy = StrategyOf(axis, node)) {
        placement[axis] = strategy->inputs[input];
      }
    }
    return placement;
  }
  Placement OutputOf(uint32_t node, size_t output) const {
    Placement placement(size_t(time_) + 1);
    for (int axis = 0; axis <= time_; ++axis) {
      if (const NodeStrategy* strategy = StrategyOf(axis, node)) {
        placement[axis] = strategy->outputs[output];
      }
    }
    return placement;
  }

  void AddInputs() {
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const Input& input = graph_.inputs[i];
      Placement where(size_t(time_) + 1);
      if (input.kind == InputKind::kSlot || input.kind == InputKind::kValue) {
        std::copy(request_.inputs[i].begin(), request_.inputs[i].end(), where.begin());
      }
      std::vector<Shape> shapes;
      for (size_t device = 0; device < builder_.devices(); ++device) {
        shapes.push_back(LocalShapeAt(Whole(input.value), where, at_, device));
      }
      const ValueId id =
          builder_.AddInput(input.kind, input.index, graph_.values[input.value].dtype, shapes);
      states_[input.value].versions.push_back({where, {id}});
    }
    // Scalars that the partitioner adds come after the client's.
  }

  const Shape& Whole(ValueId value) const { return request_.types[value].shape; }

  bool SplitInTime(const Placement& where) const {
    return where[time_].kind != PlacementKind::kReplicate;
  }

  // Whether micro-batches must be put together on the way from one placement to another: a part
  // along time lies inside the parts along the mesh, so that where those change, it changes too.
  bool ThroughWhole(const Placement& from, const Placement& to) const {
    if (!SplitInTime(from)) return false;
    if (!(from[time_] == to[time_])) return true;
    if (!IsShard(from[time_])) return false;
    for (int axis = 0; axis < time_; ++axis) {
      if ((from[axis] == from[time_]) != (to[axis] == to[time_])) return true;
    }
    return false;
  }

  void FindPhases() {
    phases_.resize(graph_.nodes.size());
    std::vector<Placement> made(graph_.values.size());
    for (const Input& input : graph_.inputs) {
      made[input.value] = states_[input.value].versions[0].where;
    }
    const auto use = [&](ValueId value, const Placement& want) {
      const bool joined = ThroughWhole(made[value], want);
      states_[value].joined |= joined;
      return states_[value].phase + (joined ? 1 : 0);
    };
    for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
      const Node& n = graph_.nodes[node];
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        phases_[node] = std::max(phases_[node], use(n.inputs[i], InputOf(node, i)));
      }
      for (uint32_t i = 0; i < n.output_count; ++i) {
        states_[n.first_output + i].phase = phases_[node];
        made[n.first_output + i] = OutputOf(node, i);
      }
      last_phase_ = std::max(last_phase_, phases_[node]);
    }
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      Placement want = request_.outputs[i];
      want.resize(size_t(time_) + 1);
      use(graph_.outputs[i].value, want);
    }
  }

  // ---- Values
  // ------------------------------------------------------------------------------------

  Version* Find(State& state, const Placement& where) {
    for (Version& version : state.versions) {
      if (version.where == where) return &version;
    }
    return nullptr;
  }

  size_t Slot(const Placement& where) const {
    return SplitInTime(where) ? size_t(at_.micro_batch) : 0;
  }

  void Store(State& state, const Placement& where, ValueId id) {
    Version* version = Find(state, where);
    if (version == nullptr) {
      state.versions.push_back({where, {}});
      version = &state.versions.back();
      version->ids.resize(SplitInTime(where) ? size_t(at_.micro_batches) : 1, kNotYet);
    }
    version->ids[Slot(where)] = id;
  }

  // The value as `want` says, for the micro-batch at hand.
  absl::StatusOr<ValueId> Get(ValueId value, const Placement& want) {
    State& state = states_[value];
    if (const Version* there = Find(state, want)) {
      if (there->ids[Slot(want)] != kNotYet) return there->ids[Slot(want)];
    }
    MarkNodes(in_loop_ ? Belongs::kMicroBatch : Belongs::kOnce);
    MOAI_ASSIGN_OR_RETURN(const ValueId id, Make(value, want));
    // What is whole along time is made once, by whichever micro-batch needs it first.
    MarkNodes(SplitInTime(want) ? Belongs::kMicroBatch : Belongs::kOnce);
    Store(states_[value], want, id);
    return id;
  }

  absl::StatusOr<ValueId> Make(ValueId value, const Placement& want) {
    ValueId id = kNotYet;
    if (const Version* source = Cheapest(value, want)) {
      MOAI_ASSIGN_OR_RETURN(id, Redistribute(builder_, source->ids[Slot(want)], Whole(value),
                                             source->where, want, at_));
    } else if (SplitInTime(want)) {
      if (!IsShard(want[time_])) {
        return absl::InternalError(
            absl::StrCat("value ", value, " is wanted as ", ToString(want[time_]), " along time"));
      }
      Placement whole = want;
      whole[time_] = {};
      MOAI_ASSIGN_OR_RETURN(const ValueId all, Get(value, whole));
      MOAI_ASSIGN_OR_RETURN(
          id, SliceLocally(builder_, all, Whole(value), whole, time_, want[time_], at_));
    } else {
      MOAI_RETURN_IF_ERROR(Join(value));
      MarkNodes(Belongs::kOnce);
      return Get(value, want);
    }
    return id;
  }

  // What is there already and costs least to move, without micro-batches being put together.
  const Version* Cheapest(ValueId value, const Placement& want) const {
    const Version* best = nullptr;
    double least = 0;
    for (const Version& version : states_[value].versions) {
      if (version.ids[Slot(version.where)] == kNotYet) continue;
      if (SplitInTime(version.where) != SplitInTime(want) || ThroughWhole(version.where, want)) {
        continue;
      }
      const double cost = RedistributionBytes(double(request_.types[value].bytes()), version.where,
                                              want, request_.mesh);
      if (best == nullptr || cost < least) {
        best = &version;
        least = cost;
      }
    }
    return best;
  }

  // Puts the micro-batches of a value together, where it lies as it was made.
  absl::Status Join(ValueId value) {
    State& state = states_[value];
    const Version made = state.versions[0];
    if (!SplitInTime(made.where)) return absl::InternalError("nothing to join along time");
    Placement whole = made.where;
    whole[time_] = {};
    ValueId id = state.sum;
    if (IsShard(made.where[time_])) {
      MOAI_ASSIGN_OR_RETURN(id, Concat(value, made));
    }
    if (id == kNotYet) return absl::InternalError("terms along time were not summed");
    Store(state, whole, id);
    return absl::OkStatus();
  }

  absl::StatusOr<ValueId> Concat(ValueId value, const Version& made) {
    const AxisPlacement& factor = made.where[time_];
    std::vector<ValueId> pieces;
    Placement whole = made.where;
    whole[time_] = {};
    const bool plain = factor.outer == 1;
    const int64_t micro_batch = at_.micro_batch;
    for (int64_t i = 0; i < at_.micro_batches; ++i) {
      ValueId piece = made.ids[request_.sample ? 0 : size_t(i)];
      if (piece == kNotYet) return absl::InternalError("a micro-batch is missing");
      at_.micro_batch = i;
      if (!plain) {
        MOAI_ASSIGN_OR_RETURN(piece,
                              ViewAround(builder_, piece, Whole(value), made.where, time_, at_));
      }
      pieces.push_back(piece);
    }
    at_.micro_batch = micro_batch;
    MOAI_ASSIGN_OR_RETURN(const ValueId joined,
                          builder_.AddNode(Op::kConcat, pieces, {plain ? factor.dim : 1}));
    if (plain) return joined;
    DeviceExtents extents;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      const Shape shape = LocalShapeAt(Whole(value), whole, at_, device);
      extents.push_back({shape.begin(), shape.end()});
    }
    return builder_.AddNode(Op::kReshape, {joined}, {Whole(value).rank()}, extents);
  }

  // ---- Nodes
  // -------------------------------------------------------------------------------------

  absl::Status Emit(uint32_t node) {
    in_loop_ = InLoop(node);
    const absl::Status status = EmitNode(node);
    MarkNodes(in_loop_ ? Belongs::kMicroBatch : Belongs::kOnce);
    in_loop_ = false;
    if (status.ok()) return status;
    return absl::Status(
        status.code(),
        absl::StrCat("node ", node, " (", Name(graph_.nodes[node].op), "): ", status.message()));
  }

  absl::Status EmitNode(uint32_t node) {
    const Node& n = graph_.nodes[node];
    std::vector<ValueId> inputs;
    std::vector<Placement> input_places, output_places;
    bool divided_mean = false;
    for (int axis = 0; axis <= time_; ++axis) {
      const NodeStrategy* strategy = StrategyOf(axis, node);
      divided_mean |= strategy != nullptr && strategy->kind == StrategyKind::kMean;
    }
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      input_places.push_back(InputOf(node, i));
      MOAI_ASSIGN_OR_RETURN(const ValueId id, Get(n.inputs[i], input_places.back()));
      inputs.push_back(id);
    }
    for (uint32_t i = 0; i < n.output_count; ++i) output_places.push_back(OutputOf(node, i));
    const DeviceExtents extents =
        LocalExtents(n, OriginalExtents(n), request_.types, input_places, output_places, at_);
    MOAI_ASSIGN_OR_RETURN(
        ValueId first, builder_.AddNode(divided_mean ? Op::kReduceSum : n.op, inputs, n.attributes,
                                        extents, n.numbers));
    if (divided_mean) {
      double elements = 1;
      for (int32_t axis : n.attributes) elements *= double(Whole(n.inputs[0])[axis]);
      const ValueId scale = builder_.AddConstant(builder_.dtype(first), 1 / elements);
      MOAI_ASSIGN_OR_RETURN(first, builder_.AddNode(Op::kMul, {first, scale}));
    }
    for (uint32_t i = 0; i < n.output_count; ++i) {
      State& state = states_[n.first_output + i];
      Store(state, output_places[i], first + i);
      if (!state.joined || output_places[i][time_].kind != PlacementKind::kPartial) continue;
      // Terms are summed as they come, so that one is alive besides the sum.
      if (state.sum == kNotYet) {
        state.sum = first + i;
      } else {
        MOAI_ASSIGN_OR_RETURN(state.sum, builder_.AddNode(JoinOp(output_places[i][time_].reduce),
                                                          {state.sum, first + i}));
      }
    }
    return absl::OkStatus();
  }

  absl::Span<const int64_t> OriginalExtents(const Node& node) const {
    return Extents(node, request_.sizes);
  }

  const PartitionRequest& request_;
  const Graph& graph_;
  const int time_;  // the axis
  DevicesBuilder builder_;
  Coordinates at_;
  std::vector<State> states_;
  std::vector<uint32_t> phases_;
  uint32_t last_phase_ = 0;
  bool in_loop_ = false;          // the node at hand
  std::vector<Belongs> belongs_;  // by recorded node
};

}  // namespace

absl::StatusOr<PartitionedGraph> Partition(const PartitionRequest& request) {
  return Partitioner(request).Run();
}

}  // namespace moai
