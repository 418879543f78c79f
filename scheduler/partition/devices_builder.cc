#include "scheduler/partition/devices_builder.h"

#include <algorithm>

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

}  // namespace

ValueId DevicesBuilder::AddInput(InputKind kind, uint32_t index, Dtype dtype,
                                 absl::Span<const Shape> shapes) {
  const ValueId value = ValueId(graph_.values.size());
  graph_.values.push_back({dtype, uint8_t(shapes[0].rank())});
  graph_.inputs.push_back({kind, index, value});
  uint32_t& count = CountOf(graph_, kind);
  count = std::max(count, index + 1);
  input_sizes_.resize(devices());
  for (size_t device = 0; device < devices(); ++device) {
    types_[device].push_back({dtype, shapes[device]});
    if (kind == InputKind::kScalar) continue;
    input_sizes_[device].insert(input_sizes_[device].end(), shapes[device].begin(),
                                shapes[device].end());
  }
  return value;
}

ValueId DevicesBuilder::AddConstant(Dtype dtype, double number) {
  const auto [entry, added] = constants_.try_emplace({dtype, number});
  if (added) {
    entry->second =
        AddInput(InputKind::kScalar, graph_.scalar_count, dtype, std::vector<Shape>(devices()));
    Scalar scalar;
    if (IsFloat(dtype)) {
      scalar.f64 = number;
    } else {
      scalar.i64 = int64_t(number);
    }
    constant_values_.push_back(scalar);
  }
  return entry->second;
}

absl::StatusOr<ValueId> DevicesBuilder::AddNode(Op op, absl::Span<const ValueId> inputs,
                                                absl::Span<const int32_t> attributes,
                                                const DeviceExtents& extents,
                                                absl::Span<const double> numbers) {
  Node node;
  node.op = op;
  node.inputs.assign(inputs.begin(), inputs.end());
  node.attributes.assign(attributes.begin(), attributes.end());
  node.numbers.assign(numbers.begin(), numbers.end());
  node.first_output = ValueId(graph_.values.size());
  node.output_count = uint8_t(Entry(op).outputs);
  node.first_extent = sizes_.empty() ? 0 : uint32_t(sizes_[0].size());
  node.extent_count = extents.empty() ? 0 : uint32_t(extents[0].size());
  for (size_t device = 0; device < devices(); ++device) {
    absl::Span<const int64_t> own;
    if (!extents.empty()) own = extents.size() == 1 ? extents[0] : extents[device];
    std::vector<TensorType>& types = types_[device];
    inputs_.clear();
    for (ValueId input : inputs) inputs_.push_back(types[input]);
    types.resize(node.first_output + node.output_count);
    const absl::Status status =
        InferNode(node, inputs_, own, absl::MakeSpan(types).subspan(node.first_output));
    if (!status.ok()) {
      for (std::vector<TensorType>& all : types_) all.resize(node.first_output);
      for (size_t before = 0; before < device; ++before) {
        sizes_[before].resize(node.first_extent);
      }
      return absl::InternalError(
          absl::StrCat("the part of device ", device, " is no valid node: ", status.message()));
    }
    sizes_[device].insert(sizes_[device].end(), own.begin(), own.end());
  }
  for (uint32_t i = 0; i < node.output_count; ++i) {
    const TensorType& type = types_[0][node.first_output + i];
    graph_.values.push_back({type.dtype, uint8_t(type.shape.rank())});
  }
  const ValueId first = node.first_output;
  graph_.nodes.push_back(std::move(node));
  return first;
}

std::vector<DeviceGraph> DevicesBuilder::Finish(std::vector<std::vector<DeviceGroup>> groups) {
  input_sizes_.resize(devices());
  const uint32_t input_extents = input_sizes_.empty() ? 0 : uint32_t(input_sizes_[0].size());
  for (Node& node : graph_.nodes) node.first_extent += input_extents;
  graph_.extent_count = input_extents + (sizes_.empty() ? 0 : uint32_t(sizes_[0].size()));
  auto graph = std::make_shared<const Graph>(std::move(graph_));
  std::vector<DeviceGraph> parts(devices());
  for (size_t device = 0; device < devices(); ++device) {
    DeviceGraph& part = parts[device];
    part.graph = graph;
    part.sizes = std::move(input_sizes_[device]);
    part.sizes.insert(part.sizes.end(), sizes_[device].begin(), sizes_[device].end());
    part.groups = std::move(groups[device]);
    part.constants = constant_values_;
  }
  *this = DevicesBuilder(parts.size());
  return parts;
}

}  // namespace moai
