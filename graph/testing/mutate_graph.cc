#include "graph/testing/mutate_graph.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "graph/testing/random_node.h"

namespace moai {
namespace {

class Mutator {
 public:
  explicit Mutator(std::mt19937_64& random) : random_(random) {}

  void Mutate(Graph& graph) {
    switch (Pick(16)) {
      case 0:
        return MutateValue(graph);
      case 1:
      case 2:
        return MutateInput(graph);
      case 3:
      case 4:
      case 5:
        return MutateOutput(graph);
      case 6:
        return MutateCounts(graph);
      case 7:
        return MutateOrder(graph);
      default:
        return MutateNode(graph);
    }
  }

  // Another number for a field: near, extreme, or anything.
  template <typename T>
  T Number(T old) {
    switch (Pick(6)) {
      case 0:
        return static_cast<T>(static_cast<uint64_t>(old) + 1);
      case 1:
        return static_cast<T>(static_cast<uint64_t>(old) - 1);
      case 2:
        return std::numeric_limits<T>::max();
      case 3:
        return std::numeric_limits<T>::min();
      case 4:
        return static_cast<T>(Pick(9));
      default:
        return static_cast<T>(random_());
    }
  }

  uint64_t Pick(uint64_t count) { return random_() % count; }

 private:
  template <typename List>
  auto& Any(List& list) {
    return list[Pick(list.size())];
  }

  template <typename List, typename T>
  void MutateList(List& list, T extra) {
    if (!list.empty() && OneIn(random_, 2)) {
      Any(list) = Number(Any(list));
    } else if (!list.empty() && OneIn(random_, 2)) {
      list.erase(list.begin() + Pick(list.size()));
    } else {
      list.insert(list.begin() + Pick(list.size() + 1), extra);
    }
  }

  void MutateValue(Graph& graph) {
    if (graph.values.empty() || OneIn(random_, 6)) {
      graph.values.push_back({});
      return;
    }
    Value& value = Any(graph.values);
    // Dtypes have four bits on the wire, and none is above 15 in a parsed graph.
    if (OneIn(random_, 2))
      value.dtype = static_cast<Dtype>(Pick(16));
    else
      value.rank = Number(value.rank);
  }

  void MutateInput(Graph& graph) {
    if (graph.inputs.empty()) return;
    Input& input = Any(graph.inputs);
    switch (Pick(4)) {
      case 0:
        input.kind = static_cast<InputKind>(Pick(6));
        return;
      case 1:
        input.index = Number(input.index);
        return;
      case 2:
        input.value = Number(input.value);
        return;
      default:
        // Bindings trade places: often as good as before.
        std::swap(input.index, Any(graph.inputs).index);
    }
  }

  void MutateOutput(Graph& graph) {
    if (graph.outputs.empty() || OneIn(random_, 4)) {
      graph.outputs.push_back(
          {OutputKind::kValue, static_cast<ValueId>(Pick(graph.values.size() + 1)), 0});
      return;
    }
    Output& output = Any(graph.outputs);
    switch (Pick(5)) {
      case 0:
        output.kind = static_cast<OutputKind>(Pick(4));
        return;
      case 1:
        output.index = Number(output.index);
        return;
      case 2:
        output.value = Number(output.value);
        return;
      case 3:
        output.value = static_cast<ValueId>(Pick(graph.values.size() + 1));
        return;
      default:
        graph.outputs.erase(graph.outputs.begin() + Pick(graph.outputs.size()));
    }
  }

  void MutateCounts(Graph& graph) {
    uint32_t* const counts[] = {&graph.slot_count, &graph.value_count, &graph.feed_count,
                                &graph.scalar_count};
    uint32_t& count = *counts[Pick(4)];
    count = Number(count);
  }

  void MutateOrder(Graph& graph) {
    switch (Pick(4)) {
      case 0:
        if (!graph.nodes.empty()) std::swap(Any(graph.nodes), Any(graph.nodes));
        return;
      case 1:
        if (!graph.inputs.empty()) std::swap(Any(graph.inputs), Any(graph.inputs));
        return;
      case 2:
        if (!graph.outputs.empty()) std::swap(Any(graph.outputs), Any(graph.outputs));
        return;
      default:
        if (!graph.nodes.empty()) graph.nodes.erase(graph.nodes.begin() + Pick(graph.nodes.size()));
    }
  }

  void MutateNode(Graph& graph) {
    if (graph.nodes.empty()) return;
    Node& node = Any(graph.nodes);
    switch (Pick(12)) {
      case 0:
        node.op = static_cast<Op>(Number(static_cast<uint16_t>(node.op)));
        return;
      case 1:
      case 2:
        node.op = AlikeOp(node);
        return;
      case 3:
        return MutateList(node.inputs, static_cast<ValueId>(Pick(graph.values.size() + 1)));
      case 4:
      case 5:
        return ReplaceOperand(graph, node);
      case 6:
        if (node.inputs.size() > 1) std::swap(Any(node.inputs), Any(node.inputs));
        return;
      case 7:
        return MutateList(node.attributes, static_cast<int32_t>(Pick(4)));
      case 8:
        if (!node.attributes.empty()) Any(node.attributes) = static_cast<int32_t>(Pick(5));
        return;
      case 9:
        if (OneIn(random_, 4)) {
          node.numbers.push_back(1);
        } else if (!node.numbers.empty()) {
          const double numbers[] = {0.5, 1e300, -1, std::numeric_limits<double>::quiet_NaN()};
          Any(node.numbers) = numbers[Pick(4)];
        }
        return;
      case 10:
        if (OneIn(random_, 2))
          node.first_output = Number(node.first_output);
        else
          node.output_count = Number(node.output_count);
        return;
      default:
        node.extent_count = Number(node.extent_count);
    }
  }

  // An op with as many inputs, attributes and outputs.
  Op AlikeOp(const Node& node) {
    std::vector<Op> alike;
    for (const OpEntry& entry : AllOps()) {
      if (!IsValid(node.op)) break;
      const OpEntry& own = Entry(node.op);
      if (entry.min_inputs == own.min_inputs && entry.attributes == own.attributes &&
          entry.numbers == own.numbers && entry.extents == own.extents &&
          entry.outputs == own.outputs) {
        alike.push_back(entry.op);
      }
    }
    return alike.empty() ? node.op : Any(alike);
  }

  // By another value, of the same kind where one is found quickly.
  void ReplaceOperand(const Graph& graph, Node& node) {
    if (node.inputs.empty() || graph.values.empty()) return;
    ValueId& operand = Any(node.inputs);
    for (int tries = 0; tries < 8; ++tries) {
      const ValueId other = static_cast<ValueId>(Pick(graph.values.size()));
      if (operand < graph.values.size() && graph.values[other] != graph.values[operand]) continue;
      operand = other;
      return;
    }
  }

  std::mt19937_64& random_;
};

void PlaceExtents(Graph& graph) {
  uint32_t next = 0;
  for (const Input& input : graph.inputs) {
    if (input.value < graph.values.size()) next += graph.values[input.value].rank;
  }
  for (Node& node : graph.nodes) {
    node.first_extent = next;
    next += node.extent_count;
  }
  graph.extent_count = next;
}

}  // namespace

void MutateGraph(Graph& graph, std::mt19937_64& random) {
  Mutator(random).Mutate(graph);
  PlaceExtents(graph);
}

void MutateSizes(Sizes& sizes, std::mt19937_64& random) {
  Mutator mutator(random);
  if (sizes.empty() || OneIn(random, 16)) {
    sizes.resize(mutator.Pick(sizes.size() + 3));
    return;
  }
  int64_t& size = sizes[mutator.Pick(sizes.size())];
  size = mutator.Number(size);
}

void MutateBytes(std::string& bytes, std::mt19937_64& random) {
  Mutator mutator(random);
  for (uint64_t count = 1 + mutator.Pick(3); count > 0; --count) {
    if (bytes.empty()) return;
    const size_t at = mutator.Pick(bytes.size());
    switch (mutator.Pick(5)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << mutator.Pick(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes.insert(at, 1, static_cast<char>(random()));
        break;
      case 3:
        bytes.erase(at, 1 + mutator.Pick(8));
        break;
      default:
        bytes.insert(at, bytes.substr(at, 1 + mutator.Pick(8)));
    }
  }
}

}  // namespace moai
