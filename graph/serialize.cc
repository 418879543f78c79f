#include "graph/serialize.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/verify.h"
#include "proto/graph.pb.h"

namespace moai {
namespace {

constexpr uint32_t kDtypeBits = 4;

template <typename... Words>
absl::Status Invalid(const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat(words...));
}

// Narrows a field to the type that holds it.
template <typename T>
absl::Status Narrow(uint32_t from, absl::string_view list, int position, absl::string_view field,
                    T& to) {
  constexpr uint32_t kMost = std::numeric_limits<T>::max();
  if (from > kMost) {
    return Invalid(list, "[", position, "].", field, " must be at most ", kMost, ", got ", from);
  }
  to = static_cast<T>(from);
  return absl::OkStatus();
}

absl::Status ParseValues(const proto::GraphProto& from, Graph& to) {
  to.values.resize(from.values_size());
  for (int i = 0; i < from.values_size(); ++i) {
    const uint32_t packed = from.values(i);
    to.values[i].dtype = static_cast<Dtype>(packed & ((1u << kDtypeBits) - 1));
    MOAI_RETURN_IF_ERROR(Narrow(packed >> kDtypeBits, "values", i, "rank", to.values[i].rank));
  }
  return absl::OkStatus();
}

absl::Status ParseInputs(const proto::GraphProto& from, Graph& to, uint64_t& extents) {
  to.inputs.resize(from.inputs_size());
  for (int i = 0; i < from.inputs_size(); ++i) {
    const proto::InputProto& input = from.inputs(i);
    uint8_t kind = 0;
    MOAI_RETURN_IF_ERROR(Narrow(input.kind(), "inputs", i, "kind", kind));
    if (input.value() >= to.values.size()) {
      return Invalid("inputs[", i, "].value ", input.value(), " is not one of the ",
                     to.values.size(), " values");
    }
    to.inputs[i] = {static_cast<InputKind>(kind), input.index(), input.value()};
    extents += to.values[input.value()].rank;
  }
  return absl::OkStatus();
}

absl::Status ParseNodes(const proto::GraphProto& from, Graph& to, uint64_t& extents) {
  to.nodes.resize(from.nodes_size());
  for (int i = 0; i < from.nodes_size(); ++i) {
    const proto::NodeProto& source = from.nodes(i);
    Node& node = to.nodes[i];
    uint16_t op = 0;
    MOAI_RETURN_IF_ERROR(Narrow(source.op(), "nodes", i, "op", op));
    MOAI_RETURN_IF_ERROR(
        Narrow(source.output_count(), "nodes", i, "output_count", node.output_count));
    node.op = static_cast<Op>(op);
    node.inputs.assign(source.inputs().begin(), source.inputs().end());
    node.attributes.assign(source.attributes().begin(), source.attributes().end());
    node.numbers.assign(source.numbers().begin(), source.numbers().end());
    node.first_output = source.first_output();
    node.first_extent = static_cast<uint32_t>(extents);
    node.extent_count = source.extent_count();
    extents += node.extent_count;
    if (extents > std::numeric_limits<uint32_t>::max()) {
      return Invalid("nodes[", i, "].extent_count ", node.extent_count,
                     " makes the size vector too long");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseOutputs(const proto::GraphProto& from, Graph& to) {
  to.outputs.resize(from.outputs_size());
  for (int i = 0; i < from.outputs_size(); ++i) {
    const proto::OutputProto& output = from.outputs(i);
    uint8_t kind = 0;
    MOAI_RETURN_IF_ERROR(Narrow(output.kind(), "outputs", i, "kind", kind));
    to.outputs[i] = {static_cast<OutputKind>(kind), output.value(), output.index()};
  }
  return absl::OkStatus();
}

}  // namespace

std::string SerializeGraph(const Graph& graph) {
  proto::GraphProto to;
  for (const Value& value : graph.values) {
    to.add_values(static_cast<uint32_t>(value.dtype) | uint32_t{value.rank} << kDtypeBits);
  }
  for (const Input& input : graph.inputs) {
    proto::InputProto& added = *to.add_inputs();
    added.set_kind(static_cast<uint32_t>(input.kind));
    added.set_index(input.index);
    added.set_value(input.value);
  }
  for (const Node& node : graph.nodes) {
    proto::NodeProto& added = *to.add_nodes();
    added.set_op(static_cast<uint32_t>(node.op));
    added.mutable_inputs()->Add(node.inputs.begin(), node.inputs.end());
    added.mutable_attributes()->Add(node.attributes.begin(), node.attributes.end());
    added.mutable_numbers()->Add(node.numbers.begin(), node.numbers.end());
    added.set_first_output(node.first_output);
    added.set_output_count(node.output_count);
    added.set_extent_count(node.extent_count);
  }
  for (const Output& output : graph.outputs) {
    proto::OutputProto& added = *to.add_outputs();
    added.set_kind(static_cast<uint32_t>(output.kind));
    added.set_value(output.value);
    added.set_index(output.index);
  }
  to.set_slot_count(graph.slot_count);
  to.set_value_count(graph.value_count);
  to.set_feed_count(graph.feed_count);
  to.set_scalar_count(graph.scalar_count);
  return to.SerializeAsString();
}

absl::StatusOr<Graph> ParseGraph(absl::string_view bytes) {
  if (bytes.size() > kMaxGraphBytes) {
    return Invalid("graph: ", bytes.size(), " bytes; kMaxGraphBytes is ", kMaxGraphBytes);
  }
  proto::GraphProto from;
  if (!from.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Invalid("graph: ", bytes.size(), " bytes are not a GraphProto message");
  }
  if (from.nodes_size() > static_cast<int>(kMaxNodes)) {
    return Invalid("nodes has ", from.nodes_size(), " entries; kMaxNodes is ", kMaxNodes);
  }
  Graph graph;
  uint64_t extents = 0;
  MOAI_RETURN_IF_ERROR(ParseValues(from, graph));
  MOAI_RETURN_IF_ERROR(ParseInputs(from, graph, extents));
  MOAI_RETURN_IF_ERROR(ParseNodes(from, graph, extents));
  MOAI_RETURN_IF_ERROR(ParseOutputs(from, graph));
  graph.slot_count = from.slot_count();
  graph.value_count = from.value_count();
  graph.feed_count = from.feed_count();
  graph.scalar_count = from.scalar_count();
  graph.extent_count = static_cast<uint32_t>(extents);
  // Unknown fields, fields out of order, explicit defaults and overlong numbers are not kept, so
  // they show here.
  if (SerializeGraph(graph) != bytes) {
    return Invalid("graph: the ", bytes.size(), " bytes are not the canonical serialisation");
  }
  return graph;
}

}  // namespace moai
