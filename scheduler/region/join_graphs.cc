#include "scheduler/region/join_graphs.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/verify.h"

namespace moai {
namespace {

constexpr uint32_t kOwn = RegionBindings::kOwn;

class Join {
 public:
  Join(const SizedGraph& first, const SizedGraph& second, const RegionBindings& bindings)
      : first_(first), second_(second), bindings_(bindings) {}

  absl::StatusOr<JoinedGraph> Run() {
    MOAI_RETURN_IF_ERROR(CheckBindings());
    Graph& graph = joined_.graph;
    graph = *first_.graph;
    graph.outputs.clear();
    MOAI_RETURN_IF_ERROR(ListFirst());
    NumberBindings();
    MOAI_RETURN_IF_ERROR(AddSecond());
    MOAI_RETURN_IF_ERROR(AddOutputs());
    JoinSizes();
    MOAI_RETURN_IF_ERROR(VerifyStructure(graph));
    return std::move(joined_);
  }

 private:
  absl::Status CheckBindings() const {
    const Graph& second = *second_.graph;
    if (bindings_.slots.size() != second.slot_count ||
        bindings_.values.size() != second.value_count ||
        bindings_.outputs.size() != second.value_count ||
        bindings_.feeds.size() != second.feed_count) {
      return absl::InvalidArgumentError("not every binding of the second graph is described");
    }
    return absl::OkStatus();
  }

  // What the first graph has at each of its positions.
  absl::Status ListFirst() {
    const Graph& first = *first_.graph;
    slots_.assign(first.slot_count, kOwn);
    values_.assign(first.value_count, kOwn);
    feeds_.assign(first.feed_count, kOwn);
    for (const Input& input : first.inputs) {
      if (input.kind == InputKind::kSlot) slots_[input.index] = input.value;
      if (input.kind == InputKind::kValue) values_[input.index] = input.value;
      if (input.kind == InputKind::kFeed) feeds_[input.index] = input.value;
    }
    for (const Output& output : first.outputs) {
      if (output.kind == OutputKind::kSlot) {
        return absl::InvalidArgumentError("the first graph writes a slot");
      }
      outputs_.push_back(output.value);
    }
    if (bindings_.keep.size() == outputs_.size()) return absl::OkStatus();
    return absl::InvalidArgumentError("not every output of the first graph is described");
  }

  static std::vector<uint32_t> Number(const std::vector<uint32_t>& same, uint32_t& count) {
    std::vector<uint32_t> numbers;
    for (const uint32_t binding : same) numbers.push_back(binding == kOwn ? count++ : binding);
    return numbers;
  }

  void NumberBindings() {
    joined_.slots = Number(bindings_.slots, joined_.graph.slot_count);
    joined_.feeds = Number(bindings_.feeds, joined_.graph.feed_count);
    for (size_t i = 0; i < bindings_.values.size(); ++i) {
      const bool made = bindings_.outputs[i] != kOwn;
      const bool own = !made && bindings_.values[i] == kOwn;
      joined_.values.push_back(made  ? kOwn
                               : own ? joined_.graph.value_count++
                                     : bindings_.values[i]);
    }
  }

  // The value of the first graph that an input of the second is, or kOwn.
  absl::StatusOr<ValueId> SameAs(const Input& input) const {
    const auto look = [](const std::vector<ValueId>& table,
                         uint32_t at) -> absl::StatusOr<ValueId> {
      if (at == kOwn) return kOwn;
      if (at < table.size()) return table[at];
      return absl::InvalidArgumentError(absl::StrCat("the first graph has no binding ", at));
    };
    switch (input.kind) {
      case InputKind::kSlot:
        return look(slots_, bindings_.slots[input.index]);
      case InputKind::kFeed:
        return look(feeds_, bindings_.feeds[input.index]);
      case InputKind::kValue:
        if (bindings_.outputs[input.index] != kOwn) {
          return look(outputs_, bindings_.outputs[input.index]);
        }
        return look(values_, bindings_.values[input.index]);
      case InputKind::kScalar:
        break;
    }
    return kOwn;
  }

  absl::Status AddInput(const Input& input) {
    MOAI_ASSIGN_OR_RETURN(const ValueId same, SameAs(input));
    if (same != kOwn) {
      if (!(first_.types[same] == second_.types[input.value])) {
        return absl::InvalidArgumentError(
            absl::StrCat("input of value ", input.value, " of the second graph is ",
                         ToString(second_.types[input.value]), ", in the first one it is ",
                         ToString(first_.types[same])));
      }
      value_of_[input.value] = same;
      return absl::OkStatus();
    }
    Graph& graph = joined_.graph;
    uint32_t index = input.index;
    if (input.kind == InputKind::kSlot) index = joined_.slots[index];
    if (input.kind == InputKind::kValue) index = joined_.values[index];
    if (input.kind == InputKind::kFeed) index = joined_.feeds[index];
    if (input.kind == InputKind::kScalar) index += first_.graph->scalar_count;
    const ValueId value = ValueId(graph.values.size());
    graph.inputs.push_back({input.kind, index, value});
    graph.values.push_back(second_.graph->values[input.value]);
    if (input.kind != InputKind::kScalar) {
      const Shape& shape = second_.types[input.value].shape;
      own_input_sizes_.insert(own_input_sizes_.end(), shape.begin(), shape.end());
    }
    value_of_[input.value] = value;
    return absl::OkStatus();
  }

  void AddNode(const Node& node) {
    Graph& graph = joined_.graph;
    Node& added = graph.nodes.emplace_back(node);
    for (ValueId& input : added.inputs) input = value_of_[input];
    added.first_output = ValueId(graph.values.size());
    for (uint32_t k = 0; k < node.output_count; ++k) {
      value_of_[node.first_output + k] = ValueId(graph.values.size());
      graph.values.push_back(second_.graph->values[node.first_output + k]);
    }
  }

  // Inputs stand between nodes, in the order of their values.
  absl::Status AddSecond() {
    const Graph& second = *second_.graph;
    value_of_.resize(second.values.size());
    size_t next = 0;
    for (const Node& node : second.nodes) {
      for (; next < second.inputs.size() && second.inputs[next].value < node.first_output; ++next) {
        MOAI_RETURN_IF_ERROR(AddInput(second.inputs[next]));
      }
      AddNode(node);
    }
    for (; next < second.inputs.size(); ++next) {
      MOAI_RETURN_IF_ERROR(AddInput(second.inputs[next]));
    }
    joined_.graph.scalar_count += second.scalar_count;
    return absl::OkStatus();
  }

  absl::Status AddOutputs() {
    Graph& graph = joined_.graph;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (bindings_.keep[i]) graph.outputs.push_back({OutputKind::kValue, outputs_[i], 0});
    }
    for (const Output& output : second_.graph->outputs) {
      const bool slot = output.kind == OutputKind::kSlot;
      graph.outputs.push_back(
          {output.kind, value_of_[output.value], slot ? joined_.slots[output.index] : 0});
    }
    return absl::OkStatus();
  }

  // Extents of inputs come before those of nodes.
  void JoinSizes() {
    const auto input_extents = [](const SizedGraph& one) {
      size_t count = one.sizes.size();
      for (const Node& node : one.graph->nodes) count -= node.extent_count;
      return count;
    };
    const size_t first = input_extents(first_), second = input_extents(second_);
    Sizes& sizes = joined_.sizes;
    sizes.assign(first_.sizes.begin(), first_.sizes.begin() + ptrdiff_t(first));
    sizes.insert(sizes.end(), own_input_sizes_.begin(), own_input_sizes_.end());
    sizes.insert(sizes.end(), first_.sizes.begin() + ptrdiff_t(first), first_.sizes.end());
    sizes.insert(sizes.end(), second_.sizes.begin() + ptrdiff_t(second), second_.sizes.end());
    uint32_t at = uint32_t(first + own_input_sizes_.size());
    for (Node& node : joined_.graph.nodes) {
      node.first_extent = at;
      at += node.extent_count;
    }
    joined_.graph.extent_count = at;
  }

  const SizedGraph& first_;
  const SizedGraph& second_;
  const RegionBindings& bindings_;
  JoinedGraph joined_;
  // Of the first graph, by binding or output.
  std::vector<ValueId> slots_, values_, feeds_, outputs_;
  std::vector<ValueId> value_of_;  // by value of the second
  Sizes own_input_sizes_;          // of the second's own inputs
};

}  // namespace

absl::StatusOr<JoinedGraph> JoinGraphs(const SizedGraph& first, const SizedGraph& second,
                                       const RegionBindings& bindings) {
  return Join(first, second, bindings).Run();
}

}  // namespace moai
