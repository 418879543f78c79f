#include "scheduler/planning/forward_pass.h"

#include <algorithm>

#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

// Values smaller than this share of the largest are small.
constexpr double kSmallShare = 1.0 / 64;

constexpr ValueId kNoValue = UINT32_MAX;

class Finder {
 public:
  Finder(const Graph& graph, absl::Span<const TensorType> types) : graph_(graph), types_(types) {}

  ForwardPass Run() {
    FindProducers();
    FindTurn();
    pass_.small.resize(graph_.values.size());
    for (ValueId value = 0; value < pass_.small.size(); ++value) {
      pass_.small[value] = double(types_[value].bytes()) < kSmallShare * double(largest_);
    }
    FindNarrowPlaces();
    return std::move(pass_);
  }

 private:
  void FindProducers() {
    pass_.producer.assign(graph_.values.size(), UINT32_MAX);
    pass_.depends.assign(graph_.values.size(), false);
    root_.resize(graph_.values.size());
    for (ValueId value = 0; value < root_.size(); ++value) root_[value] = value;
    for (const Input& input : graph_.inputs) {
      pass_.depends[input.value] =
          input.kind == InputKind::kFeed || input.kind == InputKind::kValue;
    }
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      bool depends = false;
      for (ValueId input : node.inputs) depends = depends || pass_.depends[input];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        pass_.producer[node.first_output + k] = i;
        pass_.depends[node.first_output + k] = depends;
      }
      if (IsView(node) && !node.inputs.empty() && pass_.producer[node.inputs[0]] != UINT32_MAX) {
        root_[node.first_output] = root_[node.inputs[0]];
      }
    }
  }

  // The last node that reads each value or a view of it, of the first `nodes` nodes.
  std::vector<uint32_t> LastReaders(uint32_t nodes) const {
    std::vector<uint32_t> last(graph_.values.size(), 0);
    for (uint32_t i = 0; i < nodes; ++i) {
      for (ValueId input : graph_.nodes[i].inputs) last[root_[input]] = i;
    }
    return last;
  }

  // How many weights heavy nodes have read, up to and with each node, and will read again. The
  // backward pass reads weights in the reverse order, so that these spans are nested.
  std::vector<int> WeightsInUse() {
    const uint32_t nodes = uint32_t(graph_.nodes.size());
    reads_weight_.assign(nodes, false);
    std::vector<ValueId> weight(graph_.values.size(), kNoValue);  // that it is, or is made of alone
    for (const Input& input : graph_.inputs) {
      if (input.kind == InputKind::kSlot) weight[input.value] = input.value;
    }
    std::vector<uint32_t> first(graph_.values.size(), UINT32_MAX), last(graph_.values.size(), 0);
    for (uint32_t i = 0; i < nodes; ++i) {
      const Node& node = graph_.nodes[i];
      if (node.inputs.size() == 1) weight[node.first_output] = weight[node.inputs[0]];
      if (!IsHeavy(node)) continue;
      for (ValueId input : node.inputs) {
        if (weight[input] == kNoValue) continue;
        first[weight[input]] = std::min(first[weight[input]], i);
        last[weight[input]] = i;
        reads_weight_[i] = true;
      }
    }
    std::vector<int> change(size_t(nodes) + 1, 0);
    for (ValueId value = 0; value < first.size(); ++value) {
      if (first[value] >= last[value]) continue;
      ++change[first[value]];
      --change[last[value]];
    }
    std::vector<int> in_use(nodes, 0);
    int now = 0;
    for (uint32_t i = 0; i < nodes; ++i) in_use[i] = now += change[i];
    return in_use;
  }

  void FindTurn() {
    const uint32_t nodes = uint32_t(graph_.nodes.size());
    const std::vector<int> in_use = WeightsInUse();
    const int middle = nodes == 0 ? 0 : *std::max_element(in_use.begin(), in_use.end());
    const std::vector<uint32_t> last = LastReaders(nodes);
    std::vector<int64_t> dies(size_t(nodes) + 1, 0);
    int64_t alive = 0, most = -1;
    for (uint32_t i = 0; i < nodes; ++i) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        const ValueId value = node.first_output + k;
        if (root_[value] != value) continue;
        const int64_t bytes = types_[value].bytes();
        largest_ = std::max(largest_, bytes);
        // The first gradient of a weight, which may come before the weight is read again.
        if (in_use[i] == middle && IsProduct(node) && !reads_weight_[i]) continue;
        alive += bytes;
        dies[std::max(last[value], i)] += bytes;
      }
      if (in_use[i] == middle && alive > most) {
        most = alive;
        pass_.turn = i;
      }
      alive -= dies[i];
    }
  }

  void FindNarrowPlaces() {
    pass_.narrow_value.assign(graph_.values.size(), false);
    const uint32_t nodes = std::min(pass_.turn + 1, uint32_t(graph_.nodes.size()));
    const std::vector<uint32_t> last = LastReaders(nodes);
    std::vector<std::vector<ValueId>> dies(size_t(nodes) + 1);
    size_t alive = 0;
    uint64_t sum = 0;  // of those alive: the one, where only one is
    for (uint32_t i = 0; i < nodes; ++i) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        const ValueId value = node.first_output + k;
        if (root_[value] != value || !pass_.depends[value] || pass_.small[value] ||
            last[value] <= i) {
          continue;
        }
        ++alive;
        sum += value;
        dies[last[value]].push_back(value);
      }
      for (ValueId value : dies[i]) {
        --alive;
        sum -= value;
      }
      if (alive != 1) continue;
      pass_.narrow_value[size_t(sum)] = true;
      pass_.narrow.push_back(i);
    }
  }

  const Graph& graph_;
  const absl::Span<const TensorType> types_;
  std::vector<ValueId> root_;       // by value: what it is a view of
  std::vector<bool> reads_weight_;  // by node: of the heavy ones
  int64_t largest_ = 0;
  ForwardPass pass_;
};

}  // namespace

ForwardPass FindForwardPass(const Graph& graph, absl::Span<const TensorType> types) {
  return Finder(graph, types).Run();
}

}  // namespace moai
