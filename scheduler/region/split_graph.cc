#include "scheduler/region/split_graph.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "scheduler/partition/devices_builder.h"

namespace moai {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

// What one stage of a pipeline sends another: by the group that both name, and how many came
// before.
using Transfer = std::pair<int32_t, uint32_t>;
using Transfers = std::set<Transfer>;

// Which nodes of a structure are late.
class Assignment {
 public:
  Assignment(const SplitRequest& request, const Graph& graph, absl::Span<const TensorType> types)
      : request_(request), graph_(graph), types_(types) {
    producer_.assign(graph_.values.size(), kNone);
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) producer_[node.first_output + k] = i;
    }
    late_value_.assign(graph_.values.size(), false);
    for (const Input& input : graph_.inputs) late_value_[input.value] = IsLate(input);
    FindNeeded();
  }

  // Marks what follows from late bindings and from late transfers, and adds the transfers that
  // are late by it. True where it added one.
  bool Follow(Transfers& late) {
    const size_t before = late.size();
    std::map<int32_t, uint32_t> sent, received;
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      bool is_late = std::any_of(node.inputs.begin(), node.inputs.end(),
                                 [this](ValueId input) { return late_value_[input]; });
      if (node.op == Op::kSend) {
        const int32_t group = node.attributes[0];
        const Transfer transfer{group, sent[group]++};
        if (is_late) late.insert(transfer);
      } else if (node.op == Op::kRecv) {
        const int32_t group = node.attributes[1];
        is_late = late.contains({group, received[group]++});
      }
      SetLate(i, is_late);
    }
    return late.size() > before;
  }

  // Once every structure has followed.
  absl::Status Settle() {
    for (size_t i = 0; i < request_.early_outputs; ++i) {
      if (!late_value_[graph_.outputs[i].value]) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("output ", i, " depends on what comes with the second step"));
    }
    MoveWhereLessCrosses();
    return absl::OkStatus();
  }

  bool needed(uint32_t node) const { return needed_[node]; }
  bool late(uint32_t node) const { return late_value_[graph_.nodes[node].first_output]; }
  uint32_t producer(ValueId value) const { return producer_[value]; }

 private:
  bool IsLate(const Input& input) const {
    const LateBindings& late = request_.late;
    const auto at = [&input](const std::vector<bool>& table) {
      return input.index < table.size() && table[input.index];
    };
    switch (input.kind) {
      case InputKind::kSlot:
        return at(late.slots);
      case InputKind::kValue:
        return at(late.values);
      case InputKind::kFeed:
        return at(late.feeds);
      case InputKind::kScalar:
        break;
    }
    return at(late.scalars);
  }

  void SetLate(uint32_t node, bool late) {
    const Node& n = graph_.nodes[node];
    for (uint32_t k = 0; k < n.output_count; ++k) late_value_[n.first_output + k] = late;
  }

  void FindNeeded() {
    needed_.assign(graph_.nodes.size(), false);
    const auto need = [this](ValueId value) {
      if (producer_[value] != kNone) needed_[producer_[value]] = true;
    };
    for (const Output& output : graph_.outputs) need(output.value);
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      // The other devices of its group wait for a collective, whether this one needs it or not.
      if (IsCollective(graph_.nodes[i].op)) needed_[i] = true;
      if (!needed_[i]) continue;
      for (const ValueId input : graph_.nodes[i].inputs) need(input);
    }
  }

  // Nodes of which only late ones take anything become late where that makes no more bytes cross.
  // Collectives stay: they run beside the other kernels of the early part.
  void MoveWhereLessCrosses() {
    early_use_.assign(graph_.values.size(), false);
    late_use_.assign(graph_.values.size(), false);
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      (i < request_.early_outputs ? early_use_ : late_use_)[graph_.outputs[i].value] = true;
    }
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      const uint32_t node = uint32_t(i);
      if (!needed_[node]) continue;
      if (!late(node) && MayMove(node)) SetLate(node, true);
      auto& use = late(node) ? late_use_ : early_use_;
      for (const ValueId input : graph_.nodes[node].inputs) use[input] = true;
    }
  }

  bool MayMove(uint32_t node) const {
    const Node& n = graph_.nodes[node];
    if (IsCollective(n.op)) return false;
    int64_t saved = 0, added = 0;
    for (uint32_t k = 0; k < n.output_count; ++k) {
      const ValueId value = n.first_output + k;
      if (early_use_[value]) return false;
      if (late_use_[value]) saved += types_[value].bytes();
    }
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      const ValueId input = n.inputs[k];
      const bool again = std::find(n.inputs.begin(), n.inputs.begin() + ptrdiff_t(k), input) !=
                         n.inputs.begin() + ptrdiff_t(k);
      if (again || producer_[input] == kNone || late_use_[input]) continue;
      added += types_[input].bytes();
    }
    return added <= saved;
  }

  const SplitRequest& request_;
  const Graph& graph_;
  absl::Span<const TensorType> types_;
  std::vector<uint32_t> producer_;
  std::vector<bool> late_value_;
  std::vector<bool> needed_;
  std::vector<bool> early_use_, late_use_;
};

// The devices that run one structure: all, or those of one stage of a pipeline.
struct Stage {
  const Graph* graph = nullptr;
  std::vector<size_t> devices;                 // by position among the request's parts
  std::vector<std::vector<TensorType>> types;  // by device of the stage
  std::vector<bool> early, late;               // by node
  std::vector<ValueId> crossing;               // values
};

// A binding of the joined graph, which every structure has.
using Binding = std::pair<InputKind, uint32_t>;

size_t ClientScalars(const SplitRequest& request) {
  return request.parts[0].graph->scalar_count - request.parts[0].constants.size();
}

// The bindings that a part has on any stage: all devices are told the same.
std::set<Binding> BindingsOf(const SplitRequest& request, const std::vector<Stage>& stages,
                             bool late) {
  std::set<Binding> bindings;
  for (const Stage& stage : stages) {
    const Graph& graph = *stage.graph;
    std::vector<bool> used(graph.values.size(), false);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      if (!(late ? stage.late : stage.early)[i]) continue;
      for (const ValueId input : graph.nodes[i].inputs) used[input] = true;
    }
    for (size_t i = 0; i < graph.outputs.size(); ++i) {
      if ((i >= request.early_outputs) == late) used[graph.outputs[i].value] = true;
    }
    for (const Input& input : graph.inputs) {
      const bool constant =
          input.kind == InputKind::kScalar && input.index >= ClientScalars(request);
      if (used[input.value] && !constant) bindings.insert({input.kind, input.index});
    }
  }
  return bindings;
}

// Of each half, where its bindings are.
struct Numbering {
  std::map<Binding, Binding> inputs;  // of the joined graph's: kind and position in the half
  std::map<uint32_t, uint32_t> slots;
  uint32_t first_crossing = 0;  // value binding
  uint32_t crossing = 0;        // how many, on the stage that has most
};

Numbering Number(const SplitRequest& request, const std::set<Binding>& bindings,
                 absl::Span<const Output> outputs, size_t crossing, RegionHalf& half) {
  Numbering numbering;
  const auto slot = [&](uint32_t binding) {
    const auto [entry, added] = numbering.slots.try_emplace(binding, half.slots.size());
    if (added) half.slots.push_back(binding);
    return entry->second;
  };
  for (const auto& [kind, index] : bindings) {
    Binding& here = numbering.inputs[{kind, index}];
    if (kind == InputKind::kSlot) {
      here = {kind, slot(index)};
    } else if (kind == InputKind::kScalar) {
      here = {kind, uint32_t(half.scalars.size())};
      half.scalars.push_back(index);
    } else if (kind == InputKind::kFeed && !request.feeds_as_values[index]) {
      here = {kind, uint32_t(half.feeds.size())};
      half.feeds.push_back(index);
    } else {
      here = {InputKind::kValue, uint32_t(half.values.size())};
      half.values.push_back(
          {kind == InputKind::kFeed ? RegionHalf::Source::kFeed : RegionHalf::Source::kValue,
           index});
    }
  }
  for (const Output& output : outputs) {
    if (output.kind == OutputKind::kSlot) slot(output.index);
  }
  numbering.first_crossing = uint32_t(half.values.size());
  numbering.crossing = uint32_t(crossing);
  return numbering;
}

// Records what the devices of one stage run of one of the halves.
class HalfBuilder {
 public:
  HalfBuilder(const SplitRequest& request, const Stage& stage, const Numbering& numbering)
      : request_(request),
        stage_(stage),
        graph_(*stage.graph),
        numbering_(numbering),
        builder_(stage.devices.size()),
        value_of_(graph_.values.size(), kNone) {}

  absl::StatusOr<std::vector<DeviceGraph>> Run(bool late) {
    AddInputs();
    AddConstants();
    if (late) AddCrossing();
    const std::vector<bool>& nodes = late ? stage_.late : stage_.early;
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      if (nodes[i]) MOAI_RETURN_IF_ERROR(AddNode(graph_.nodes[i]));
    }
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      if ((i >= request_.early_outputs) != late) continue;
      const Output& output = graph_.outputs[i];
      const bool slot = output.kind == OutputKind::kSlot;
      builder_.AddOutput(output.kind, value_of_[output.value],
                         slot ? numbering_.slots.at(output.index) : 0);
    }
    if (!late) MOAI_RETURN_IF_ERROR(GiveCrossing());
    std::vector<std::vector<DeviceGroup>> groups;
    for (const size_t device : stage_.devices) groups.push_back(request_.parts[device].groups);
    return builder_.Finish(std::move(groups));
  }

 private:
  const DeviceGraph& part() const { return request_.parts[stage_.devices[0]]; }

  ValueId Add(InputKind kind, uint32_t index, ValueId value) {
    std::vector<Shape> shapes;
    for (const std::vector<TensorType>& types : stage_.types) shapes.push_back(types[value].shape);
    return builder_.AddInput(kind, index, graph_.values[value].dtype, shapes);
  }

  void AddInputs() {
    for (const Input& input : graph_.inputs) {
      const auto found = numbering_.inputs.find({input.kind, input.index});
      if (found == numbering_.inputs.end()) continue;
      value_of_[input.value] = Add(found->second.first, found->second.second, input.value);
    }
  }

  // After every scalar of the client; those that are not used cost nothing.
  void AddConstants() {
    const size_t first = ClientScalars(request_);
    for (const Input& input : graph_.inputs) {
      if (input.kind != InputKind::kScalar || input.index < first) continue;
      const Scalar number = part().constants[input.index - first];
      const Dtype dtype = graph_.values[input.value].dtype;
      value_of_[input.value] =
          builder_.AddConstant(dtype, IsFloat(dtype) ? number.f64 : double(number.i64));
    }
  }

  void AddCrossing() {
    for (uint32_t i = 0; i < numbering_.crossing; ++i) {
      const uint32_t index = numbering_.first_crossing + i;
      if (i < stage_.crossing.size()) {
        value_of_[stage_.crossing[i]] = Add(InputKind::kValue, index, stage_.crossing[i]);
      } else {
        builder_.AddInput(InputKind::kValue, index, Dtype::kF32,
                          std::vector<Shape>(stage_.devices.size(), Shape{0}));
      }
    }
  }

  // An empty tensor for each that only other stages have.
  absl::Status GiveCrossing() {
    for (uint32_t i = 0; i < numbering_.crossing; ++i) {
      ValueId value = 0;
      if (i < stage_.crossing.size()) {
        value = value_of_[stage_.crossing[i]];
      } else {
        const ValueId zero = builder_.AddConstant(Dtype::kF32, 0);
        MOAI_ASSIGN_OR_RETURN(value, builder_.AddNode(Op::kFill, {zero}, {1}, {{0}}));
      }
      builder_.AddOutput(OutputKind::kValue, value);
    }
    return absl::OkStatus();
  }

  absl::Status AddNode(const Node& node) {
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(value_of_[input]);
    DeviceExtents extents;
    for (const size_t device : stage_.devices) {
      const absl::Span<const int64_t> own = Extents(node, request_.parts[device].sizes);
      extents.emplace_back(own.begin(), own.end());
    }
    MOAI_ASSIGN_OR_RETURN(const ValueId first, builder_.AddNode(node.op, inputs, node.attributes,
                                                                extents, node.numbers));
    for (uint32_t k = 0; k < node.output_count; ++k) value_of_[node.first_output + k] = first + k;
    return absl::OkStatus();
  }

  const SplitRequest& request_;
  const Stage& stage_;
  const Graph& graph_;
  const Numbering& numbering_;
  DevicesBuilder builder_;
  std::vector<ValueId> value_of_;  // by value of the joined structure
};

// What early nodes make and the late part takes, in the order of the values.
std::vector<ValueId> Crossing(const Graph& graph, const Assignment& assignment,
                              absl::Span<const Output> late_outputs) {
  std::vector<bool> crosses(graph.values.size(), false);
  const auto take = [&](ValueId value) {
    const uint32_t producer = assignment.producer(value);
    if (producer != kNone && !assignment.late(producer)) crosses[value] = true;
  };
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    if (!assignment.needed(i) || !assignment.late(i)) continue;
    for (const ValueId input : graph.nodes[i].inputs) take(input);
  }
  for (const Output& output : late_outputs) take(output.value);
  std::vector<ValueId> values;
  for (ValueId value = 0; value < crosses.size(); ++value) {
    if (crosses[value]) values.push_back(value);
  }
  return values;
}

absl::StatusOr<std::vector<Stage>> FindStages(const SplitRequest& request) {
  std::vector<Stage> stages;
  for (size_t device = 0; device < request.parts.size(); ++device) {
    const DeviceGraph& part = request.parts[device];
    auto stage = std::find_if(stages.begin(), stages.end(),
                              [&](const Stage& s) { return s.graph == part.graph.get(); });
    if (stage == stages.end()) {
      stages.emplace_back().graph = part.graph.get();
      stage = std::prev(stages.end());
    }
    stage->devices.push_back(device);
    MOAI_ASSIGN_OR_RETURN(stage->types.emplace_back(), InferGraph(*part.graph, part.sizes));
  }
  return stages;
}

// Which stage runs what when.
absl::Status Assign(const SplitRequest& request, std::vector<Stage>& stages) {
  std::vector<Assignment> assignments;
  for (const Stage& stage : stages) assignments.emplace_back(request, *stage.graph, stage.types[0]);
  Transfers late;
  bool more = true;
  while (more) {
    more = false;
    for (Assignment& assignment : assignments) more = assignment.Follow(late) || more;
  }
  for (size_t s = 0; s < stages.size(); ++s) {
    Stage& stage = stages[s];
    MOAI_RETURN_IF_ERROR(assignments[s].Settle());
    const absl::Span<const Output> outputs = stage.graph->outputs;
    stage.crossing = Crossing(*stage.graph, assignments[s], outputs.subspan(request.early_outputs));
    for (uint32_t i = 0; i < stage.graph->nodes.size(); ++i) {
      stage.early.push_back(assignments[s].needed(i) && !assignments[s].late(i));
      stage.late.push_back(assignments[s].needed(i) && assignments[s].late(i));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SplitGraph> SplitRegion(const SplitRequest& request) {
  MOAI_ASSIGN_OR_RETURN(std::vector<Stage> stages, FindStages(request));
  MOAI_RETURN_IF_ERROR(Assign(request, stages));
  size_t crossing = 0;
  for (const Stage& stage : stages) crossing = std::max(crossing, stage.crossing.size());
  const absl::Span<const Output> outputs = stages[0].graph->outputs;
  SplitGraph split;
  split.crossing.resize(request.parts.size());
  for (const bool late : {false, true}) {
    RegionHalf& half = late ? split.late : split.early;
    const Numbering numbering = Number(
        request, BindingsOf(request, stages, late),
        late ? outputs.subspan(request.early_outputs) : absl::Span<const Output>(), crossing, half);
    for (uint32_t i = 0; late && i < crossing; ++i) {
      half.values.push_back({RegionHalf::Source::kCrossing, i});
    }
    half.parts.resize(request.parts.size());
    for (const Stage& stage : stages) {
      MOAI_ASSIGN_OR_RETURN(std::vector<DeviceGraph> parts,
                            HalfBuilder(request, stage, numbering).Run(late));
      for (size_t i = 0; i < parts.size(); ++i) half.parts[stage.devices[i]] = std::move(parts[i]);
    }
  }
  for (const Stage& stage : stages) {
    for (size_t i = 0; i < stage.devices.size(); ++i) {
      std::vector<TensorType>& own = split.crossing[stage.devices[i]];
      for (const ValueId value : stage.crossing) own.push_back(stage.types[i][value]);
      own.resize(crossing, TensorType{Dtype::kF32, Shape{0}});
    }
  }
  return split;
}

}  // namespace moai
