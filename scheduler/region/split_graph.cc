#include "scheduler/region/split_graph.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "scheduler/partition/devices_builder.h"

namespace moai {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

// Which nodes of the structure are late.
class Assignment {
 public:
  Assignment(const SplitRequest& request, const Graph& graph, absl::Span<const TensorType> types)
      : request_(request), graph_(graph), types_(types) {}

  absl::Status Run() {
    producer_.assign(graph_.values.size(), kNone);
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) producer_[node.first_output + k] = i;
    }
    late_value_.assign(graph_.values.size(), false);
    for (const Input& input : graph_.inputs) late_value_[input.value] = IsLate(input);
    FindNeeded();
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const bool late = std::any_of(node.inputs.begin(), node.inputs.end(),
                                    [this](ValueId input) { return late_value_[input]; });
      SetLate(i, late);
    }
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

// Records one of the parts.
class HalfBuilder {
 public:
  HalfBuilder(const SplitRequest& request, const Graph& graph,
              const std::vector<std::vector<TensorType>>& types)
      : request_(request),
        graph_(graph),
        types_(types),
        builder_(request.parts.size()),
        value_of_(graph.values.size(), kNone),
        slot_of_(graph.slot_count, kNone) {}

  // `nodes` by node: recorded here. `crossing` are taken as values, `outputs` are given, then
  // `also`.
  absl::StatusOr<RegionHalf> Run(const std::vector<bool>& nodes, absl::Span<const ValueId> crossing,
                                 absl::Span<const Output> outputs, absl::Span<const ValueId> also) {
    used_.assign(graph_.values.size(), false);
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!nodes[i]) continue;
      for (const ValueId input : graph_.nodes[i].inputs) used_[input] = true;
    }
    for (const Output& output : outputs) used_[output.value] = true;
    for (const Input& input : graph_.inputs) AddInput(input);
    AddConstants();
    for (uint32_t i = 0; i < crossing.size(); ++i) {
      value_of_[crossing[i]] = Add(InputKind::kValue, uint32_t(half_.values.size()), crossing[i]);
      half_.values.push_back({RegionHalf::Source::kCrossing, i});
    }
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      if (nodes[i]) MOAI_RETURN_IF_ERROR(AddNode(graph_.nodes[i]));
    }
    for (const Output& output : outputs) {
      const bool slot = output.kind == OutputKind::kSlot;
      builder_.AddOutput(output.kind, value_of_[output.value], slot ? SlotOf(output.index) : 0);
    }
    for (const ValueId value : also) builder_.AddOutput(OutputKind::kValue, value_of_[value]);
    std::vector<std::vector<DeviceGroup>> groups;
    for (const DeviceGraph& part : request_.parts) groups.push_back(part.groups);
    half_.parts = builder_.Finish(std::move(groups));
    return std::move(half_);
  }

 private:
  size_t ClientScalars() const { return graph_.scalar_count - request_.parts[0].constants.size(); }

  ValueId Add(InputKind kind, uint32_t index, ValueId value) {
    std::vector<Shape> shapes;
    for (const std::vector<TensorType>& types : types_) shapes.push_back(types[value].shape);
    return builder_.AddInput(kind, index, graph_.values[value].dtype, shapes);
  }

  uint32_t SlotOf(uint32_t binding) {
    if (slot_of_[binding] == kNone) {
      slot_of_[binding] = uint32_t(half_.slots.size());
      half_.slots.push_back(binding);
    }
    return slot_of_[binding];
  }

  void AddInput(const Input& input) {
    if (!used_[input.value]) return;
    ValueId& value = value_of_[input.value];
    switch (input.kind) {
      case InputKind::kSlot:
        value = Add(input.kind, SlotOf(input.index), input.value);
        return;
      case InputKind::kFeed:
        if (!request_.feeds_as_values[input.index]) {
          value = Add(input.kind, uint32_t(half_.feeds.size()), input.value);
          half_.feeds.push_back(input.index);
          return;
        }
        value = Add(InputKind::kValue, uint32_t(half_.values.size()), input.value);
        half_.values.push_back({RegionHalf::Source::kFeed, input.index});
        return;
      case InputKind::kValue:
        value = Add(input.kind, uint32_t(half_.values.size()), input.value);
        half_.values.push_back({RegionHalf::Source::kValue, input.index});
        return;
      case InputKind::kScalar:
        if (input.index >= ClientScalars()) return;  // a constant
        value = Add(input.kind, uint32_t(half_.scalars.size()), input.value);
        half_.scalars.push_back(input.index);
        return;
    }
  }

  // After every scalar of the client.
  void AddConstants() {
    const size_t first = ClientScalars();
    for (const Input& input : graph_.inputs) {
      if (input.kind != InputKind::kScalar || input.index < first || !used_[input.value]) continue;
      const Scalar number = request_.parts[0].constants[input.index - first];
      const Dtype dtype = graph_.values[input.value].dtype;
      value_of_[input.value] =
          builder_.AddConstant(dtype, IsFloat(dtype) ? number.f64 : double(number.i64));
    }
  }

  absl::Status AddNode(const Node& node) {
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(value_of_[input]);
    DeviceExtents extents;
    for (const DeviceGraph& part : request_.parts) {
      const absl::Span<const int64_t> own = Extents(node, part.sizes);
      extents.emplace_back(own.begin(), own.end());
    }
    MOAI_ASSIGN_OR_RETURN(const ValueId first, builder_.AddNode(node.op, inputs, node.attributes,
                                                                extents, node.numbers));
    for (uint32_t k = 0; k < node.output_count; ++k) value_of_[node.first_output + k] = first + k;
    return absl::OkStatus();
  }

  const SplitRequest& request_;
  const Graph& graph_;
  const std::vector<std::vector<TensorType>>& types_;
  DevicesBuilder builder_;
  RegionHalf half_;
  std::vector<bool> used_;
  std::vector<ValueId> value_of_;  // by value of the joined structure
  std::vector<uint32_t> slot_of_;  // by its slot binding
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

}  // namespace

absl::StatusOr<SplitGraph> SplitRegion(const SplitRequest& request) {
  const DeviceGraph& first = request.parts[0];
  for (const DeviceGraph& part : request.parts) {
    if (part.graph == first.graph) continue;
    return absl::UnimplementedError("the devices run different structures: stages of a pipeline");
  }
  const Graph& graph = *first.graph;
  std::vector<std::vector<TensorType>> types;
  for (const DeviceGraph& part : request.parts) {
    MOAI_ASSIGN_OR_RETURN(types.emplace_back(), InferGraph(graph, part.sizes));
  }
  Assignment assignment(request, graph, types[0]);
  MOAI_RETURN_IF_ERROR(assignment.Run());
  const absl::Span<const Output> outputs = graph.outputs;
  const absl::Span<const Output> late_outputs = outputs.subspan(request.early_outputs);
  const std::vector<ValueId> crossing = Crossing(graph, assignment, late_outputs);
  std::vector<bool> early(graph.nodes.size()), late(graph.nodes.size());
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    early[i] = assignment.needed(i) && !assignment.late(i);
    late[i] = assignment.needed(i) && assignment.late(i);
  }
  SplitGraph split;
  MOAI_ASSIGN_OR_RETURN(split.early,
                        HalfBuilder(request, graph, types)
                            .Run(early, {}, outputs.first(request.early_outputs), crossing));
  MOAI_ASSIGN_OR_RETURN(split.late,
                        HalfBuilder(request, graph, types).Run(late, crossing, late_outputs, {}));
  for (const std::vector<TensorType>& of_device : types) {
    std::vector<TensorType>& own = split.crossing.emplace_back();
    for (const ValueId value : crossing) own.push_back(of_device[value]);
  }
  return split;
}

}  // namespace moai
