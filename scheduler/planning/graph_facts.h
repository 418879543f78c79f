// What the search needs to know of a graph, worked out once: the factors of its dims, which of them
// play the same role in repeated blocks, the strategies of every node, and which nodes are heavy.
#ifndef MOAI_SCHEDULER_PLANNING_GRAPH_FACTS_H_
#define MOAI_SCHEDULER_PLANNING_GRAPH_FACTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/partition/factors.h"
#include "scheduler/partition/strategy.h"

namespace moai {

using RoleId = uint32_t;

// Factors that stand at the same places of equal heavy nodes: the ffn of every layer is one role.
struct Role {
  int64_t extent = 0;     // of each of its factors
  double flops = 0;       // of heavy nodes that can be split along it
  bool in_feeds = false;  // a dim of what comes from the client in each step
  // Each position has weights of its own: a product reads it in both operands, one of which is
  // state. Experts.
  bool own_weights = false;
  std::string name;  // for people: where it first stands, "matmul k 1024"
  std::vector<FactorId> factors;
};

// Immutable once made. The graph outlives it.
class GraphFacts {
 public:
  // InvalidArgument where a node has no signature.
  static absl::StatusOr<GraphFacts> Make(const Graph& graph, absl::Span<const int64_t> sizes,
                                         absl::Span<const TensorType> types);

  const Graph& graph() const { return *graph_; }
  absl::Span<const int64_t> sizes() const { return sizes_; }
  absl::Span<const TensorType> types() const { return types_; }
  const Factors& factors() const { return factors_; }

  absl::Span<const NodeStrategy> strategies(uint32_t node) const { return strategies_[node]; }
  double flops(uint32_t node) const { return flops_[node]; }
  double total_flops() const { return total_flops_; }
  // Products, convolutions, attention: where they are split decides what a plan costs.
  bool heavy(uint32_t node) const { return heavy_[node]; }
  // Writes a slot, or feeds only nodes that do: an optimizer's update.
  bool update(uint32_t node) const { return update_[node]; }
  // Of a value: a node takes no terms of it that are still to be summed, or it is an output.
  bool needs_sum(ValueId value) const { return needs_sum_[value]; }
  // Makes elements from nothing but their position.
  bool creates(uint32_t node) const;

  // The last node of the forward pass (forward_pass.h).
  uint32_t turn() const { return turn_; }

  absl::Span<const Role> roles() const { return roles_; }
  RoleId role(FactorId factor) const { return role_of_[factor]; }

  // Positions among graph.inputs of what each slot output replaces; -1 where it is created.
  int ReplacedInput(size_t output) const { return replaced_[output]; }

 private:
  void MarkUpdates();
  void FindSums();
  void FindRoles();

  const Graph* graph_ = nullptr;
  std::vector<int64_t> sizes_;
  std::vector<TensorType> types_;
  Factors factors_;
  std::vector<std::vector<NodeStrategy>> strategies_;
  std::vector<double> flops_;
  double total_flops_ = 0;
  std::vector<bool> heavy_;
  std::vector<bool> update_;
  std::vector<bool> needs_sum_;  // by value
  std::vector<int> replaced_;
  uint32_t turn_ = 0;
  std::vector<Role> roles_;
  std::vector<RoleId> role_of_;
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_GRAPH_FACTS_H_
