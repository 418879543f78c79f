#include "scheduler/planning/forward_pass.h"

#include <algorithm>

#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

// Values smaller than this share of the largest are small.
constexpr double kSmallShare = 1.0 / 64;

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

  void FindTurn() {
    const uint32_t nodes = uint32_t(graph_.nodes.size());
    const std::vector<uint32_t> last = LastReaders(nodes);
    std::vector<int64_t> dies(size_t(nodes) + 1, 0);
    int64_t alive = 0, most = -1;
    for (uint32_t i = 0; i < nodes; ++i) {
      const Node& node = graph_.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        const ValueId value = node.first_output + k;
        if (root_[value] != value) continue;
        const int64_t bytes = types_[value].bytes();
        alive += bytes;
        dies[std::max(last[value], i)] += bytes;
        largest_ = std::max(largest_, bytes);
      }
      if (alive > most) {
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
  std::vector<ValueId> root_;  // by value: what it is a view of
  int64_t largest_ = 0;
  ForwardPass pass_;
};

}  // namespace

ForwardPass FindForwardPass(const Graph& graph, absl::Span<const TensorType> types) {
  return Finder(graph, types).Run();
}

}  // namespace moai
