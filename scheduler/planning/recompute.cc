#include "scheduler/planning/recompute.h"

#include <algorithm>

#include "base/status.h"
#include "graph/builder.h"
#include "scheduler/planning/forward_pass.h"
#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

constexpr uint32_t kNobody = UINT32_MAX;

class Rewriter {
 public:
  Rewriter(const Graph& graph, absl::Span<const int64_t> sizes, absl::Span<const TensorType> types,
           RecomputeMode mode)
      : graph_(graph),
        sizes_(sizes),
        types_(types),
        mode_(mode),
        pass_(FindForwardPass(graph, types)),
        producer_(pass_.producer) {
    ChooseKept();
  }

  absl::StatusOr<RewrittenGraph> Run() {
    first_.assign(graph_.values.size(), kNobody);
    again_.assign(graph_.values.size(), kNobody);
    size_t next_input = 0;
    ValueId next_value = 0;
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      AddInputs(next_input, next_value);
      const Node& node = graph_.nodes[i];
      std::vector<ValueId> inputs;
      for (ValueId input : node.inputs) {
        if (i > pass_.turn && !kept_[input]) {
          MOAI_ASSIGN_OR_RETURN(const ValueId value, Again(input));
          inputs.push_back(value);
        } else {
          inputs.push_back(first_[input]);
        }
      }
      MOAI_ASSIGN_OR_RETURN(const ValueId first, Copy(node, inputs));
      for (uint32_t k = 0; k < node.output_count; ++k) first_[node.first_output + k] = first + k;
      next_value += node.output_count;
    }
    AddInputs(next_input, next_value);
    for (const Output& output : graph_.outputs) {
      builder_.AddOutput(output.kind, first_[output.value], output.index);
    }
    CapturedGraph captured = builder_.Finish();
    // Bindings that nothing names are counted all the same.
    captured.graph.slot_count = graph_.slot_count;
    captured.graph.value_count = graph_.value_count;
    captured.graph.feed_count = graph_.feed_count;
    captured.graph.scalar_count = graph_.scalar_count;
    return RewrittenGraph{std::move(captured.graph), std::move(captured.sizes),
                          std::move(captured.types)};
  }

 private:
  // kept_: what the nodes after the turn read as it was made.
  void ChooseKept() {
    kept_.assign(graph_.values.size(), true);
    if (mode_ == RecomputeMode::kNone) return;
    for (uint32_t i = 0; i <= pass_.turn && i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        const ValueId value = node.first_output + k;
        // What does not depend on the step's data (weights in another dtype, tables) is kept.
        if (!pass_.depends[value]) continue;
        if (mode_ == RecomputeMode::kFull) {
          kept_[value] = pass_.narrow_value[value];
        } else {
          kept_[value] = IsHeavy(node) || pass_.narrow_value[value] || pass_.small[value];
        }
        if (IsView(node)) kept_[value] = kept_[node.inputs[0]];
      }
    }
  }

  void AddInputs(size_t& next_input, ValueId& next_value) {
    while (next_input < graph_.inputs.size() && graph_.inputs[next_input].value == next_value) {
      const Input& input = graph_.inputs[next_input++];
      first_[input.value] = builder_.AddInput(input.kind, input.index, types_[input.value]);
      ++next_value;
    }
  }

  absl::StatusOr<ValueId> Copy(const Node& node, absl::Span<const ValueId> inputs) {
    return builder_.AddNode(node.op, inputs, node.attributes, Extents(node, sizes_), node.numbers);
  }

  // The value, computed a second time from what is kept.
  absl::StatusOr<ValueId> Again(ValueId value) {
    if (kept_[value] || producer_[value] == kNobody) return first_[value];
    if (again_[value] != kNobody) return again_[value];
    // Chains are as long as a block: an explicit stack keeps deep ones off the thread's.
    std::vector<uint32_t> stack = {producer_[value]};
    while (!stack.empty()) {
      const Node& node = graph_.nodes[stack.back()];
      if (again_[node.first_output] != kNobody) {
        stack.pop_back();
        continue;
      }
      std::vector<ValueId> inputs;
      for (ValueId input : node.inputs) {
        const bool original = kept_[input] || producer_[input] == kNobody;
        const ValueId id = original ? first_[input] : again_[input];
        if (id == kNobody) {
          stack.push_back(producer_[input]);
        } else {
          inputs.push_back(id);
        }
      }
      if (inputs.size() < node.inputs.size()) continue;
      MOAI_ASSIGN_OR_RETURN(const ValueId first, Copy(node, inputs));
      for (uint32_t k = 0; k < node.output_count; ++k) again_[node.first_output + k] = first + k;
      stack.pop_back();
    }
    return again_[value];
  }

  const Graph& graph_;
  const absl::Span<const int64_t> sizes_;
  const absl::Span<const TensorType> types_;
  const RecomputeMode mode_;
  const ForwardPass pass_;
  const std::vector<uint32_t>& producer_;
  std::vector<bool> kept_;
  GraphBuilder builder_;
  std::vector<ValueId> first_;  // by value of the original: in the new graph
  std::vector<ValueId> again_;  // the same, computed a second time
};

}  // namespace

absl::string_view Name(RecomputeMode mode) {
  switch (mode) {
    case RecomputeMode::kSelective:
      return "selective";
    case RecomputeMode::kFull:
      return "full";
    case RecomputeMode::kNone:
      break;
  }
  return "none";
}

absl::StatusOr<RewrittenGraph> Recompute(const Graph& graph, absl::Span<const int64_t> sizes,
                                         absl::Span<const TensorType> types, RecomputeMode mode) {
  return Rewriter(graph, sizes, types, mode).Run();
}

}  // namespace moai
