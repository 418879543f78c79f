#include "graph/verify.h"

#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer_kinds.h"

namespace moai {
namespace {

template <typename... Words>
absl::Status Invalid(const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat(words...));
}

std::string ToString(const Value& value) {
  return absl::StrCat(Name(value.dtype), " of rank ", uint32_t{value.rank});
}

absl::Status CheckLimit(absl::string_view field, size_t count, size_t limit,
                        absl::string_view limit_name) {
  if (count <= limit) return absl::OkStatus();
  return Invalid(field, " has ", count, " entries; ", limit_name, " is ", limit);
}

absl::Status CheckLimits(const Graph& graph) {
  MOAI_RETURN_IF_ERROR(CheckLimit("nodes", graph.nodes.size(), kMaxNodes, "kMaxNodes"));
  MOAI_RETURN_IF_ERROR(CheckLimit("inputs", graph.inputs.size(), kMaxInputs, "kMaxInputs"));
  MOAI_RETURN_IF_ERROR(CheckLimit("outputs", graph.outputs.size(), kMaxOutputs, "kMaxOutputs"));
  return CheckLimit("sizes", graph.extent_count, kMaxExtents, "kMaxExtents");
}

absl::Status CheckValues(const Graph& graph) {
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    if (!IsValid(value.dtype)) {
      return Invalid("values[", i, "].dtype ", static_cast<uint32_t>(value.dtype),
                     " is not a dtype");
    }
    if (value.rank > kMaxRank) {
      return Invalid("values[", i, "].rank must be at most ", kMaxRank, ", got ",
                     uint32_t{value.rank});
    }
  }
  return absl::OkStatus();
}

// Walks inputs and nodes in the order of the values they define.
class DefinitionCheck {
 public:
  DefinitionCheck(const Graph& graph, const VerifyOptions& options)
      : graph_(graph), options_(options) {}

  absl::Status Run() {
    MOAI_RETURN_IF_ERROR(CountInputExtents());
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      TakeInputs();
      const absl::Status status = CheckNode(graph_.nodes[i]);
      if (!status.ok()) return Invalid("nodes[", i, "]", status.message());
    }
    TakeInputs();
    if (next_input_ < graph_.inputs.size()) {
      return Invalid("inputs[", next_input_, "].value ", graph_.inputs[next_input_].value,
                     " is not the next value, ", next_value_);
    }
    if (next_value_ != graph_.values.size()) {
      return Invalid("values has ", graph_.values.size(), " entries, but inputs and nodes define ",
                     next_value_);
    }
    if (next_extent_ != graph_.extent_count) {
      return Invalid("extent_count is ", graph_.extent_count, ", but inputs and nodes need ",
                     next_extent_);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CountInputExtents() {
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const Input& input = graph_.inputs[i];
      if (input.value >= graph_.values.size()) {
        return Invalid("inputs[", i, "].value ", input.value, " is not one of the ",
                       graph_.values.size(), " values");
      }
      const int rank = graph_.values[input.value].rank;
      if (input.kind == InputKind::kScalar && rank != 0) {
        return Invalid("inputs[", i, "] is a scalar, but its value has rank ", rank);
      }
      next_extent_ += rank;
    }
    return absl::OkStatus();
  }

  void TakeInputs() {
    while (next_input_ < graph_.inputs.size() && graph_.inputs[next_input_].value == next_value_) {
      ++next_input_;
      ++next_value_;
    }
  }

  // Messages continue "nodes[i]".
  absl::Status CheckNode(const Node& node) {
    if (IsValid(node.op) && IsCollective(node.op) && !options_.allow_collectives) {
      return Invalid(": ", Name(node.op),
                     " is made by the partitioner and may not come from a client");
    }
    if (node.first_output != next_value_) {
      return Invalid(".first_output must be the next value, ", next_value_, ", got ",
                     node.first_output);
    }
    if (node.output_count > graph_.values.size() - next_value_) {
      return Invalid(".output_count ", uint32_t{node.output_count}, " goes past the ",
                     graph_.values.size(), " values");
    }
    if (node.first_extent != next_extent_) {
      return Invalid(".first_extent must be ", next_extent_, ", got ", node.first_extent);
    }
    if (node.inputs.size() > kMaxInputs) {
      return Invalid(".inputs has ", node.inputs.size(), " entries; kMaxInputs is ", kMaxInputs);
    }
    kinds_.clear();
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] >= next_value_) {
        return Invalid(".inputs[", i, "] ", node.inputs[i], " is not defined before the node");
      }
      kinds_.push_back(graph_.values[node.inputs[i]]);
    }
    std::array<Value, 4> outputs;
    const absl::Status status = InferKinds(node, Kinds(kinds_), absl::MakeSpan(outputs));
    if (!status.ok()) return Invalid(": ", status.message());
    for (size_t i = 0; i < node.output_count; ++i) {
      const Value& stated = graph_.values[next_value_ + i];
      if (stated == outputs[i]) continue;
      return Invalid(" (", Name(node.op), "): values[", next_value_ + i, "] must be ",
                     ToString(outputs[i]), ", got ", ToString(stated));
    }
    next_value_ += node.output_count;
    next_extent_ += node.extent_count;
    return absl::OkStatus();
  }

  const Graph& graph_;
  const VerifyOptions& options_;
  size_t next_input_ = 0;
  size_t next_value_ = 0;
  uint64_t next_extent_ = 0;
  std::vector<Value> kinds_;
};

// Which positions of one sort of binding are named. Each is, once.
class BindingCheck {
 public:
  BindingCheck(absl::string_view sort, uint32_t count, size_t most) : sort_(sort), count_(count) {
    if (count <= most) used_.resize(count, false);
  }

  absl::Status CheckCount() const {
    if (used_.size() == count_) return absl::OkStatus();
    return Invalid(sort_, "_count ", count_, " is more than inputs and outputs can name");
  }

  absl::Status Use(absl::string_view field, size_t position, uint32_t index) {
    if (index >= count_) {
      return Invalid(field, "[", position, "].index ", index, " is not below ", sort_, "_count ",
                     count_);
    }
    if (used_[index]) {
      return Invalid(field, "[", position, "].index ", index, ": this ", sort_,
                     " binding is named already");
    }
    used_[index] = true;
    return absl::OkStatus();
  }

  // Also counts those that `other` uses.
  absl::Status CheckAllUsed(const BindingCheck* other = nullptr) const {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (used_[i] || (other != nullptr && other->used_[i])) continue;
      return Invalid(sort_, " binding ", i, " of ", sort_, "_count ", count_, " is never named");
    }
    return absl::OkStatus();
  }

 private:
  absl::string_view sort_;
  uint32_t count_;
  std::vector<bool> used_;
};

// The value that reads each slot binding; outputs that replace it must have its kind.
std::vector<const Value*> SlotValues(const Graph& graph) {
  std::vector<const Value*> values(graph.slot_count, nullptr);
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) values[input.index] = &graph.values[input.value];
  }
  return values;
}

absl::Status CheckInputBindings(const Graph& graph, BindingCheck& slots) {
  BindingCheck values("value", graph.value_count, graph.inputs.size());
  BindingCheck feeds("feed", graph.feed_count, graph.inputs.size());
  BindingCheck scalars("scalar", graph.scalar_count, graph.inputs.size());
  for (const BindingCheck* check : {&slots, &values, &feeds, &scalars}) {
    MOAI_RETURN_IF_ERROR(check->CheckCount());
  }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Input& input = graph.inputs[i];
    BindingCheck* check = nullptr;
    switch (input.kind) {
      case InputKind::kSlot:
        check = &slots;
        break;
      case InputKind::kValue:
        check = &values;
        break;
      case InputKind::kFeed:
        check = &feeds;
        break;
      case InputKind::kScalar:
        check = &scalars;
        break;
    }
    if (check == nullptr) {
      return Invalid("inputs[", i, "].kind ", static_cast<uint32_t>(input.kind),
                     " is not a kind of input");
    }
    MOAI_RETURN_IF_ERROR(check->Use("inputs", i, input.index));
  }
  MOAI_RETURN_IF_ERROR(values.CheckAllUsed());
  MOAI_RETURN_IF_ERROR(feeds.CheckAllUsed());
  return scalars.CheckAllUsed();
}

absl::Status CheckOutput(const Graph& graph, size_t i, const std::vector<const Value*>& before,
                         BindingCheck& slots) {
  const Output& output = graph.outputs[i];
  if (output.value >= graph.values.size()) {
    return Invalid("outputs[", i, "].value ", output.value, " is not one of the ",
                   graph.values.size(), " values");
  }
  if (output.kind == OutputKind::kValue) {
    if (output.index == 0) return absl::OkStatus();
    return Invalid("outputs[", i, "].index must be 0 for a value, got ", output.index);
  }
  if (output.kind != OutputKind::kSlot) {
    return Invalid("outputs[", i, "].kind ", static_cast<uint32_t>(output.kind),
                   " is not a kind of output");
  }
  MOAI_RETURN_IF_ERROR(slots.Use("outputs", i, output.index));
  const Value* const old_value = before[output.index];
  const Value& new_value = graph.values[output.value];
  if (old_value == nullptr || *old_value == new_value) return absl::OkStatus();
  return Invalid("outputs[", i, "] replaces a slot of ", ToString(*old_value), " with ",
                 ToString(new_value));
}

absl::Status CheckBindings(const Graph& graph) {
  const size_t most_slots = graph.inputs.size() + graph.outputs.size();
  BindingCheck read("slot", graph.slot_count, most_slots);
  BindingCheck written("slot", graph.slot_count, most_slots);
  MOAI_RETURN_IF_ERROR(CheckInputBindings(graph, read));
  const std::vector<const Value*> before = SlotValues(graph);
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    MOAI_RETURN_IF_ERROR(CheckOutput(graph, i, before, written));
  }
  return read.CheckAllUsed(&written);
}

}  // namespace

absl::Status VerifyStructure(const Graph& graph, const VerifyOptions& options) {
  MOAI_RETURN_IF_ERROR(CheckLimits(graph));
  MOAI_RETURN_IF_ERROR(CheckValues(graph));
  MOAI_RETURN_IF_ERROR(DefinitionCheck(graph, options).Run());
  return CheckBindings(graph);
}

}  // namespace moai
