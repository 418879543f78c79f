#include "graph/builder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "graph/infer.h"

namespace moai {
namespace {

uint32_t& CountOf(Graph& graph, InputKind kind) {
  switch (kind) {
    case InputKind::kSlot:
      return graph.slot_count;
    case InputKind::kValue:
      return graph.value_count;
    case InputKind::kFeed:
      return graph.feed_count;
    case InputKind::kScalar:
      break;
  }
  return graph.scalar_count;
}

Value KindOf(const TensorType& type) {
  return {type.dtype, static_cast<uint8_t>(type.shape.rank())};
}

}  // namespace

ValueId GraphBuilder::AddInput(InputKind kind, uint32_t index, const TensorType& type) {
  const ValueId id = static_cast<ValueId>(types_.size());
  types_.push_back(type);
  graph_.values.push_back(KindOf(type));
  graph_.inputs.push_back({kind, index, id});
  uint32_t& count = CountOf(graph_, kind);
  count = std::max(count, index + 1);
  input_sizes_.insert(input_sizes_.end(), type.shape.begin(), type.shape.end());
  fingerprint_.Add(graph_.inputs.back(), graph_.values.back());
  return id;
}

ValueId GraphBuilder::AddScalar(Dtype dtype) {
  return AddInput(InputKind::kScalar, graph_.scalar_count, {.dtype = dtype});
}

absl::StatusOr<ValueId> GraphBuilder::AddNode(Op op, absl::Span<const ValueId> inputs,
                                              absl::Span<const int32_t> attributes,
                                              absl::Span<const int64_t> extents,
                                              absl::Span<const double> numbers) {
  absl::InlinedVector<TensorType, 4> input_types;
  for (ValueId input : inputs) {
    if (input >= types_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(Name(op), ": value ", input, " is not in this graph"));
    }
    input_types.push_back(types_[input]);
  }
  const ValueId first_output = static_cast<ValueId>(types_.size());
  const uint8_t output_count = IsValid(op) ? Entry(op).outputs : 1;
  Node& node = graph_.nodes.emplace_back();
  node.op = op;
  node.inputs.assign(inputs.begin(), inputs.end());
  node.attributes.assign(attributes.begin(), attributes.end());
  node.numbers.assign(numbers.begin(), numbers.end());
  node.first_output = first_output;
  node.output_count = output_count;
  node.first_extent = static_cast<uint32_t>(node_sizes_.size());
  node.extent_count = static_cast<uint32_t>(extents.size());

  types_.resize(types_.size() + output_count);
  const absl::Span<TensorType> outputs = absl::MakeSpan(types_).subspan(first_output);
  if (absl::Status status = InferNode(node, input_types, extents, outputs); !status.ok()) {
    graph_.nodes.pop_back();
    types_.resize(first_output);
    return status;
  }
  for (const TensorType& type : outputs) graph_.values.push_back(KindOf(type));
  node_sizes_.insert(node_sizes_.end(), extents.begin(), extents.end());
  fingerprint_.Add(node, absl::MakeConstSpan(graph_.values).subspan(first_output));
  return first_output;
}

void GraphBuilder::AddOutput(OutputKind kind, ValueId value, uint32_t index) {
  graph_.outputs.push_back({kind, value, index});
  if (kind == OutputKind::kSlot) graph_.slot_count = std::max(graph_.slot_count, index + 1);
}

CapturedGraph GraphBuilder::Finish() {
  for (const Output& output : graph_.outputs) fingerprint_.Add(output);
  const uint32_t input_extents = static_cast<uint32_t>(input_sizes_.size());
  for (Node& node : graph_.nodes) node.first_extent += input_extents;
  input_sizes_.insert(input_sizes_.end(), node_sizes_.begin(), node_sizes_.end());
  graph_.extent_count = static_cast<uint32_t>(input_sizes_.size());
  CapturedGraph captured{.graph = std::move(graph_),
                         .sizes = std::move(input_sizes_),
                         .types = std::move(types_),
                         .fingerprint = fingerprint_.Finish()};
  *this = GraphBuilder();
  return captured;
}

}  // namespace moai
