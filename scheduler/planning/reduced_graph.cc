#include "scheduler/planning/reduced_graph.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/builder.h"

namespace moai {
namespace {

constexpr ValueId kNone = RepeatedBlocks::kNone;
// Rows of fewer blocks are not worth it.
constexpr int32_t kFewestBlocks = 5;
constexpr uint32_t kMostRows = 4;

class Cut {
 public:
  Cut(const Graph& graph, absl::Span<const int64_t> sizes, absl::Span<const TensorType> types,
      const RepeatedBlocks& blocks, int32_t keep)
      : graph_(graph),
        sizes_(sizes),
        types_(types),
        blocks_(blocks),
        gap_begin_(2),
        gap_end_(blocks.count - keep + 2) {
    for (size_t i = 0; i < graph.inputs.size(); ++i) {
      if (graph.inputs[i].kind == InputKind::kSlot) slots_[graph.inputs[i].index] = i;
    }
    previous_.assign(graph.values.size(), kNone);
    for (ValueId value = 0; value < blocks.next.size(); ++value) {
      if (blocks.next[value] != kNone) previous_[blocks.next[value]] = value;
    }
  }

  absl::StatusOr<ReducedGraph> Run() {
    reduced_.stands_for.assign(graph_.values.size(), kNone);
    size_t next_input = 0;
    ValueId next_value = 0;
    for (const Node& node : graph_.nodes) {
      AddInputs(next_input, next_value);
      next_value += node.output_count;
      if (LeftOut(node.first_output)) continue;
      std::vector<ValueId> inputs;
      for (ValueId input : node.inputs) {
        MOAI_ASSIGN_OR_RETURN(const ValueId kept, Kept(input, blocks_.block[node.first_output]));
        inputs.push_back(kept);
      }
      MOAI_ASSIGN_OR_RETURN(
          const ValueId first,
          builder_.AddNode(node.op, inputs, node.attributes, Extents(node, sizes_), node.numbers));
      for (uint32_t k = 0; k < node.output_count; ++k) Place(node.first_output + k, first + k);
    }
    AddInputs(next_input, next_value);
    for (const Output& output : graph_.outputs) {
      if (LeftOut(output.value)) continue;
      MOAI_ASSIGN_OR_RETURN(const uint32_t index, IndexOf(output));
      builder_.AddOutput(output.kind, reduced_.stands_for[output.value], index);
    }
    Finish();
    return std::move(reduced_);
  }

 private:
  bool LeftOut(ValueId value) const {
    return blocks_.block[value] >= gap_begin_ && blocks_.block[value] < gap_end_;
  }

  // What a node of `block` reads in place of `value`.
  absl::StatusOr<ValueId> Kept(ValueId value, int32_t block) const {
    ValueId whole = value;
    if (LeftOut(value)) {
      const int32_t gap = gap_end_ - gap_begin_;
      if (block == RepeatedBlocks::kOutside) {
        return absl::FailedPreconditionError(
            absl::StrCat("value ", value, " of a block is read outside"));
      }
      const std::vector<ValueId>& step = block >= gap_end_ ? previous_ : blocks_.next;
      for (int32_t i = 0; i < gap && whole != kNone; ++i) whole = step[whole];
    }
    const ValueId kept = whole == kNone ? kNone : reduced_.stands_for[whole];
    if (kept == kNone) {
      return absl::FailedPreconditionError(
          absl::StrCat("the counterpart of value ", value, " is not there, or made too late"));
    }
    return kept;
  }

  // What replaces a slot replaces the one that it reads, where that went.
  absl::StatusOr<uint32_t> IndexOf(const Output& output) {
    if (output.kind != OutputKind::kSlot) return output.index;
    const auto read = slots_.find(output.index);
    if (read == slots_.end()) return BindingOf(InputKind::kSlot, output.index);
    const int32_t block = blocks_.block[output.value];
    MOAI_ASSIGN_OR_RETURN(const ValueId kept, Kept(graph_.inputs[read->second].value, block));
    for (const Input& input : builder_.graph().inputs) {
      if (input.value == kept) return input.index;
    }
    return absl::InternalError("what a slot's input stands for is no input");
  }

  // Bindings are numbered anew: all are used.
  uint32_t BindingOf(InputKind kind, uint32_t index) {
    auto& bindings = bindings_[size_t(kind)];
    return bindings.try_emplace(index, uint32_t(bindings.size())).first->second;
  }

  void AddInputs(size_t& next_input, ValueId& next_value) {
    while (next_input < graph_.inputs.size() && graph_.inputs[next_input].value == next_value) {
      const Input& input = graph_.inputs[next_input++];
      ++next_value;
      if (LeftOut(input.value)) continue;
      Place(input.value,
            builder_.AddInput(input.kind, BindingOf(input.kind, input.index), types_[input.value]));
    }
  }

  void Place(ValueId whole, ValueId here) {
    reduced_.stands_for[whole] = here;
    reduced_.whole_value.push_back(whole);
    reduced_.places.emplace_back();
    const int32_t block = blocks_.block[whole];
    if (block < gap_begin_ - 2 || LeftOut(whole) || block > gap_end_) return;
    using Position = ReducedGraph::Position;
    reduced_.places.back().position = block == gap_begin_ - 2   ? Position::kBefore
                                      : block == gap_begin_ - 1 ? Position::kInside
                                                                : Position::kAfter;
  }

  // Of each place, by values of the whole until all are placed.
  ValueId InsideOf(ValueId whole, ReducedGraph::Position position) const {
    using Position = ReducedGraph::Position;
    if (position == Position::kBefore) return blocks_.next[whole];
    if (position == Position::kInside) return whole;
    for (int32_t block = gap_end_; block >= gap_begin_; --block) whole = previous_[whole];
    return whole;
  }

  void Finish() {
    CapturedGraph captured = builder_.Finish();
    reduced_.graph = std::move(captured.graph);
    reduced_.sizes = std::move(captured.sizes);
    reduced_.types = std::move(captured.types);
    reduced_.rows = 1;
    for (ValueId value = 0; value < reduced_.places.size(); ++value) {
      ReducedGraph::Place& place = reduced_.places[value];
      if (place.position == ReducedGraph::Position::kOutside) continue;
      place.inside = reduced_.stands_for[InsideOf(reduced_.whole_value[value], place.position)];
    }
    for (ValueId value = 0; value < graph_.values.size(); ++value) {
      if (!LeftOut(value)) continue;
      ValueId inside = value;
      for (int32_t i = blocks_.block[value]; i >= gap_begin_; --i) inside = previous_[inside];
      reduced_.stands_for[value] = reduced_.stands_for[inside];
    }
  }

  const Graph& graph_;
  const absl::Span<const int64_t> sizes_;
  const absl::Span<const TensorType> types_;
  const RepeatedBlocks& blocks_;
  const int32_t gap_begin_, gap_end_;  // blocks that go; the one before them stands for them
  std::vector<ValueId> previous_;      // by value: the counterpart in the block before
  absl::flat_hash_map<uint32_t, size_t> slots_;                      // read by which input
  std::array<absl::flat_hash_map<uint32_t, uint32_t>, 5> bindings_;  // by InputKind
  GraphBuilder builder_;
  ReducedGraph reduced_;
};

// The graph itself.
ReducedGraph Unreduced(const Graph& graph, absl::Span<const int64_t> sizes,
                       absl::Span<const TensorType> types) {
  ReducedGraph same;
  same.graph = graph;
  same.sizes.assign(sizes.begin(), sizes.end());
  same.types.assign(types.begin(), types.end());
  for (ValueId value = 0; value < graph.values.size(); ++value) {
    same.stands_for.push_back(value);
    same.whole_value.push_back(value);
  }
  same.places.resize(graph.values.size());
  return same;
}

// `inner` is of `outer.graph`: as if it were of the whole.
ReducedGraph Join(const ReducedGraph& outer, ReducedGraph inner) {
  for (ValueId value = 0; value < inner.whole_value.size(); ++value) {
    ReducedGraph::Place& place = inner.places[value];
    const ReducedGraph::Place& before = outer.places[inner.whole_value[value]];
    if (place.position != ReducedGraph::Position::kOutside) {
      place.row = outer.rows;
    } else if (before.position != ReducedGraph::Position::kOutside) {
      place = before;
      place.inside = inner.stands_for[before.inside];
    }
    inner.whole_value[value] = outer.whole_value[inner.whole_value[value]];
  }
  std::vector<ValueId> stands_for;
  for (ValueId value : outer.stands_for) stands_for.push_back(inner.stands_for[value]);
  inner.stands_for = std::move(stands_for);
  inner.rows = outer.rows + 1;
  return inner;
}

// What is of a row already stays as it is.
bool TouchesRows(const ReducedGraph& reduced, const RepeatedBlocks& blocks) {
  for (ValueId value = 0; value < blocks.block.size(); ++value) {
    if (blocks.block[value] != RepeatedBlocks::kOutside &&
        reduced.places[value].position != ReducedGraph::Position::kOutside) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<ReducedGraph> LeaveOutBlocks(const Graph& graph, absl::Span<const int64_t> sizes,
                                            absl::Span<const TensorType> types,
                                            const RepeatedBlocks& blocks, int32_t keep) {
  if (keep < 3 || keep > blocks.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("of ", blocks.count, " blocks ", keep, " cannot be kept"));
  }
  return Cut(graph, sizes, types, blocks, keep).Run();
}

absl::StatusOr<ReducedGraph> ReduceGraph(const Graph& graph, absl::Span<const int64_t> sizes,
                                         absl::Span<const TensorType> types) {
  ReducedGraph reduced = Unreduced(graph, sizes, types);
  while (reduced.rows < kMostRows) {
    const RepeatedBlocks blocks =
        FindRepeatedBlocks(reduced.graph, reduced.sizes, reduced.types, kFewestBlocks);
    if (blocks.count < kFewestBlocks || TouchesRows(reduced, blocks)) break;
    absl::StatusOr<ReducedGraph> smaller =
        LeaveOutBlocks(reduced.graph, reduced.sizes, reduced.types, blocks);
    if (!smaller.ok()) break;
    reduced = Join(reduced, *std::move(smaller));
  }
  reduced.producer.assign(reduced.graph.values.size(), UINT32_MAX);
  for (uint32_t i = 0; i < reduced.graph.nodes.size(); ++i) {
    const Node& node = reduced.graph.nodes[i];
    for (uint32_t k = 0; k < node.output_count; ++k) reduced.producer[node.first_output + k] = i;
  }
  return reduced;
}

}  // namespace moai
