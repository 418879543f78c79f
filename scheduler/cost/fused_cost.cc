#include "scheduler/cost/fused_cost.h"

#include <algorithm>

#include "graph/cost.h"

namespace moai {
namespace {

constexpr uint32_t kNone = KernelGroups::kNoNode;
constexpr uint32_t kMaxGroup = 64;  // as in program/fusion.cc

// Ops that run inside a fused kernel. Of kCreate, random numbers too: they are made in place.
bool MayFuse(const Node& node) {
  switch (Entry(node.op).op_class) {
    case OpClass::kPointwise:
    case OpClass::kView:
    case OpClass::kCreate:
      return true;
    default:
      return false;
  }
}

// May be the last op of a fused kernel.
bool MayEnd(const Node& node) {
  return MayFuse(node) || (Entry(node.op).op_class == OpClass::kReduce && node.op != Op::kArgmax &&
                           node.op != Op::kArgmin);
}

double Bytes(const TensorType& type) { return static_cast<double>(type.bytes()); }

std::vector<uint32_t> ProducersOf(const Graph& graph) {
  std::vector<uint32_t> producers(graph.values.size(), kNone);
  for (uint32_t id = 0; id < graph.nodes.size(); ++id) {
    const Node& node = graph.nodes[id];
    for (uint32_t i = 0; i < node.output_count; ++i) producers[node.first_output + i] = id;
  }
  return producers;
}

// Elements that a kernel ending in this node walks.
int64_t SpaceOf(const Node& node, absl::Span<const TensorType> types) {
  const bool reduces = Entry(node.op).op_class == OpClass::kReduce;
  const ValueId value = reduces ? node.inputs[0] : node.first_output;
  return types[value].shape.elements();
}

class Grouper {
 public:
  Grouper(const Graph& graph, absl::Span<const TensorType> types)
      : graph_(graph), types_(types), readers_(graph.nodes.size(), kNone) {}

  KernelGroups Run() {
    const uint32_t count = static_cast<uint32_t>(graph_.nodes.size());
    KernelGroups result;
    result.producer = ProducersOf(graph_);
    result.given_out.assign(graph_.values.size(), false);
    for (const Output& output : graph_.outputs) result.given_out[output.value] = true;
    root_.assign(count, kNone);
    size_.assign(count, 0);
    // Readers come after what they read: backwards, every reader of a node has its group already.
    for (uint32_t id = count; id-- > 0;) {
      const Node& node = graph_.nodes[id];
      const uint32_t root = JoinsReaders(id) ? readers_[id] : id;
      root_[id] = root;
      ++size_[root];
      for (ValueId input : node.inputs) {
        const uint32_t producer = result.producer[input];
        if (producer != kNone) NoteReader(producer, root);
      }
    }
    result.group_of.resize(count);
    for (uint32_t id = 0; id < count; ++id) {
      if (root_[id] != id) continue;
      result.group_of[id] = static_cast<uint32_t>(result.groups.size());
      result.groups.emplace_back();
    }
    for (uint32_t id = 0; id < count; ++id) {
      result.group_of[id] = result.group_of[root_[id]];
      result.groups[result.group_of[id]].push_back(id);
    }
    return result;
  }

 private:
  static constexpr uint32_t kSeveral = UINT32_MAX - 1;

  void NoteReader(uint32_t producer, uint32_t root) {
    uint32_t& reader = readers_[producer];
    reader = reader == kNone || reader == root ? root : kSeveral;
  }

  bool JoinsReaders(uint32_t id) const {
    const uint32_t root = readers_[id];
    if (root == kNone || root == kSeveral || size_[root] >= kMaxGroup) return false;
    const Node& node = graph_.nodes[id];
    if (!MayFuse(node) || !MayEnd(graph_.nodes[root])) return false;
    // A view is how its reader addresses memory, whatever their sizes.
    if (Entry(node.op).op_class == OpClass::kView) return true;
    return SpaceOf(node, types_) == SpaceOf(graph_.nodes[root], types_);
  }

  const Graph& graph_;
  const absl::Span<const TensorType> types_;
  std::vector<uint32_t> root_;     // of each node, the last node of its kernel
  std::vector<uint32_t> size_;     // of the kernel that ends in this node
  std::vector<uint32_t> readers_;  // the root of a node's readers where they are in one kernel
};

}  // namespace

KernelGroups GroupFusedNodes(const Graph& graph, absl::Span<const TensorType> types) {
  return Grouper(graph, types).Run();
}

KernelCost CostOfGroup(const DeviceModel& device, const Graph& graph,
                       absl::Span<const TensorType> types, const KernelGroups& groups,
                       uint32_t group) {
  const std::vector<uint32_t>& nodes = groups.groups[group];
  const auto types_of = [&](absl::Span<const ValueId> values) {
    absl::InlinedVector<TensorType, 4> list;
    for (ValueId value : values) list.push_back(types[value]);
    return list;
  };
  if (nodes.size() == 1) {
    const Node& node = graph.nodes[nodes[0]];
    return CostOfNode(device, node, types_of(node.inputs),
                      types.subspan(node.first_output, node.output_count));
  }
  // Values that are made and read inside the group are not read from memory, and written only where
  // the graph gives them out.
  const auto made_inside = [&](ValueId value) {
    const uint32_t producer = groups.producer[value];
    return producer != kNone && groups.group_of[producer] == group;
  };
  KernelCost cost;
  bool computes = false;
  absl::InlinedVector<ValueId, 8> read;
  for (uint32_t id : nodes) {
    const Node& node = graph.nodes[id];
    const bool view = Entry(node.op).op_class == OpClass::kView;
    computes |= !view;
    if (!view) {
      cost.flops +=
          CostOf(node, types_of(node.inputs), types.subspan(node.first_output, node.output_count))
              .flops;
    }
    for (ValueId input : node.inputs) {
      if (std::find(read.begin(), read.end(), input) != read.end() || made_inside(input)) continue;
      read.push_back(input);
      // Of what a view leaves out, nothing is read; what it repeats is read once.
      cost.bytes += view ? std::min(Bytes(types[input]), Bytes(types[node.first_output]))
                         : Bytes(types[input]);
    }
  }
  if (!computes) return {};
  for (uint32_t id : nodes) {
    const Node& node = graph.nodes[id];
    for (ValueId v = node.first_output; v < node.first_output + node.output_count; ++v) {
      if (id == nodes.back() || groups.given_out[v]) cost.bytes += Bytes(types[v]);
    }
  }
  cost.seconds = StreamingSeconds(device, cost.flops, cost.bytes);
  cost.memory_bound = device.vector_flops <= 0 ||
                      cost.bytes / device.streaming_bandwidth() > cost.flops / device.vector_flops;
  return cost;
}

KernelCost CostOfGraph(const DeviceModel& device, const Graph& graph,
                       absl::Span<const TensorType> types, const KernelGroups& groups) {
  KernelCost total;
  for (uint32_t group = 0; group < groups.groups.size(); ++group) {
    total += CostOfGroup(device, graph, types, groups, group);
  }
  return total;
}

}  // namespace moai
