// Joins tile operations into groups that run as one kernel.
//
// Groups form a graph whose edges are data and order constraints. Two groups may be joined when
// they iterate over the same shape, when no third group must run between them, and when the joined
// code fits the registers. The graph keeps a topological order, which is repaired after each join
// within the range between the two (after Pearce and Kelly, "A dynamic topological sort algorithm
// for directed acyclic graphs", 2006).
#include <algorithm>
#include <functional>
#include <queue>

#include "program/consumers.h"
#include "program/passes.h"
#include "program/tile_codegen.h"

namespace moai {
namespace {

// Groups further apart than this (in operations) are joined only where that frees memory: joining
// moves one of them, and what it reads or makes stays alive longer.
constexpr uint32_t kMaxDistance = 64;
constexpr size_t kMaxGroup = 64;
constexpr int kMaxReductions = 4;
// Bounds the work on hostile graphs; real ones need little of it.
constexpr int64_t kBudget = 30'000'000;

class Fuser {
 public:
  explicit Fuser(Lowering& lowering)
      : lowering_(lowering), graph_(*lowering.graph), consumers_(ListConsumers(lowering)) {}

  void Run() {
    BuildGraph();
    for (OperationId id = 0; id < lowering_.operations.size(); ++id) JoinProducers(id);
    for (StorageId storage = 0; storage < lowering_.storages.size(); ++storage) {
      JoinConsumers(storage);
    }
    lowering_.groups.clear();
    for (uint32_t node : order_) {
      if (node != kNone && node != commit_) {
        std::sort(groups_[node].begin(), groups_[node].end());
        lowering_.groups.push_back(std::move(groups_[node]));
      }
    }
  }

 private:
  // ---- The graph of groups. A group is named by its first operation; the commit point is a node.
  // --

  void BuildGraph() {
    const uint32_t count = static_cast<uint32_t>(lowering_.operations.size());
    commit_ = count;
    groups_.resize(count);
    group_of_.resize(count);
    successors_.resize(count + 1);
    predecessors_.resize(count + 1);
    for (OperationId id = 0; id < count; ++id) {
      groups_[id] = {id};
      group_of_[id] = id;
      const Operation& operation = lowering_.operations[id];
      for (const Reference& input : operation.inputs) {
        const OperationId producer = lowering_.storages[input.storage].producer;
        if (producer != kNone) AddEdge(producer, id);
      }
      if (PrecedesCommit(operation)) AddEdge(id, commit_);
    }
    for (const auto& [first, second] : lowering_.order_edges) AddEdge(first, second);
    for (OperationId id : lowering_.committed) AddEdge(commit_, id);
    SortTopologically();
  }

  void AddEdge(uint32_t from, uint32_t to) {
    successors_[from].push_back(to);
    predecessors_[to].push_back(from);
  }

  // The recorded order where edges allow it; the commit point as early as it can be.
  void SortTopologically() {
    position_.assign(commit_ + 1, 0);
    visited_.assign(commit_ + 1, 0);
    std::vector<size_t> waiting(commit_ + 1);
    std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ready;
    // The commit point sorts before everything else that is ready.
    const auto push = [&](uint32_t node) { ready.push(node == commit_ ? 0 : node + 1); };
    for (uint32_t node = 0; node <= commit_; ++node) {
      waiting[node] = predecessors_[node].size();
      if (waiting[node] == 0) push(node);
    }
    while (!ready.empty()) {
      const uint32_t node = ready.top() == 0 ? commit_ : ready.top() - 1;
      ready.pop();
      position_[node] = static_cast<uint32_t>(order_.size());
      order_.push_back(node);
      for (uint32_t next : successors_[node]) {
        if (--waiting[next] == 0) push(next);
      }
    }
  }

  // ---- Joining ----------------------------------------------------------------------------------

  bool IsTileGroup(uint32_t group) const {
    return IsTileOp(lowering_.operations[groups_[group][0]].op);
  }

  uint32_t SpaceClass(uint32_t group) const {
    return lowering_
        .shape_class[IterationValue(lowering_, lowering_.operations[groups_[group][0]])];
  }

  // True where a path leads from `a` to `b` through other nodes. Requires a before b.
  bool PathBetween(uint32_t a, uint32_t b) {
    ++epoch_;
    std::vector<uint32_t>& stack = stack_;
    stack.clear();
    for (uint32_t next : successors_[a]) Visit(next, a, b);
    while (!stack.empty()) {
      const uint32_t node = stack.back();
      stack.pop_back();
      for (uint32_t raw : successors_[node]) {
        if (--budget_ < 0) return true;
        if (Find(raw) == b) return true;
        Visit(raw, a, b);
      }
    }
    return false;
  }

  void Visit(uint32_t raw, uint32_t a, uint32_t b) {
    --budget_;
    const uint32_t node = Find(raw);
    if (node == a || node == b || visited_[node] == epoch_) return;
    if (position_[node] > position_[b]) return;
    visited_[node] = epoch_;
    stack_.push_back(node);
  }

  uint32_t Find(uint32_t node) const { return node == commit_ ? node : group_of_[node]; }

  bool TryJoin(uint32_t a, uint32_t b, bool any_distance) {
    if (a == b) return false;
    if (position_[a] > position_[b]) std::swap(a, b);
    if (groups_[a].size() + groups_[b].size() > kMaxGroup) return false;
    if (!any_distance && position_[b] - position_[a] > kMaxDistance) return false;
    budget_ -= position_[b] - position_[a];
    if (budget_ < 0 || PathBetween(a, b)) return false;
    std::vector<OperationId> joined = groups_[a];
    joined.insert(joined.end(), groups_[b].begin(), groups_[b].end());
    std::sort(joined.begin(), joined.end());
    if (!FitsOneKernel(joined)) return false;
    Join(a, b, std::move(joined));
    return true;
  }

  bool FitsOneKernel(const std::vector<OperationId>& operations) {
    const Operation* reduction = nullptr;
    int reductions = 0;
    for (OperationId id : operations) {
      const Operation& operation = lowering_.operations[id];
      if (IsTileReduction(operation.op) && !operation.attributes.empty()) {
        if (reduction != nullptr && !SameAxes(*reduction, operation)) return false;
        reduction = &operation;
        if (++reductions > kMaxReductions) return false;
      }
      if (!ReadsOnlyElements(operation, operations)) return false;
    }
    budget_ -= static_cast<int64_t>(operations.size()) * 8;
    return GenerateTile(lowering_, operations, consumers_).has_value();
  }

  static bool SameAxes(const Operation& a, const Operation& b) {
    uint32_t mask_a = 0, mask_b = 0;
    for (int32_t axis : a.attributes) mask_a |= 1u << axis;
    for (int32_t axis : b.attributes) mask_b |= 1u << axis;
    return mask_a == mask_b;
  }

  // What the kernel itself makes, or overwrites, it may only read element for element: not through
  // a view, and not a reduction's result.
  bool ReadsOnlyElements(const Operation& operation,
                         const std::vector<OperationId>& operations) const {
    for (const Reference& input : operation.inputs) {
      const Storage& storage = lowering_.storages[input.storage];
      if (storage.producer != kNone) {
        if (!std::binary_search(operations.begin(), operations.end(), storage.producer)) continue;
        const Operation& producer = lowering_.operations[storage.producer];
        if (!input.views.empty() || IsReduced(producer)) return false;
      } else if (storage.kind == BufferKind::kSlot && Overwrites(operations, storage.index)) {
        if (!input.views.empty() ||
            lowering_.shape_class[input.value] !=
                lowering_.shape_class[IterationValue(lowering_, operation)]) {
          return false;
        }
      }
    }
    return true;
  }

  static bool IsReduced(const Operation& operation) {
    return IsTileReduction(operation.op) && !operation.attributes.empty();
  }

  bool Overwrites(const std::vector<OperationId>& operations, uint32_t slot) const {
    for (OperationId id : operations) {
      for (StorageId output : lowering_.operations[id].outputs) {
        const Storage& storage = lowering_.storages[output];
        if (storage.updates_slot && storage.index == slot) return true;
      }
    }
    return false;
  }

  // Makes b a part of a and repairs the order: in the range between them, what does not depend on
  // a, then the joined group, then what does.
  void Join(uint32_t a, uint32_t b, std::vector<OperationId> operations) {
    const uint32_t begin = position_[a], end = position_[b];
    // PathBetween left visited_ marking what a reaches before b.
    std::vector<uint32_t> before, after;
    for (uint32_t at = begin + 1; at < end; ++at) {
      const uint32_t node = order_[at];
      if (node == kNone) continue;
      (visited_[node] == epoch_ ? after : before).push_back(node);
    }
    uint32_t at = begin;
    const auto put = [&](uint32_t node) {
      order_[at] = node;
      position_[node] = at++;
    };
    for (uint32_t node : before) put(node);
    put(a);
    for (uint32_t node : after) put(node);
    for (; at <= end; ++at) order_[at] = kNone;

    for (OperationId id : groups_[b]) group_of_[id] = a;
    groups_[b].clear();
    groups_[a] = std::move(operations);
    successors_[a].insert(successors_[a].end(), successors_[b].begin(), successors_[b].end());
    successors_[b].clear();
  }

  // ---- Where joining helps
  // ------------------------------------------------------------------------

  // An operation with those that make its inputs: values stay in registers.
  void JoinProducers(OperationId id) {
    const Operation& operation = lowering_.operations[id];
    if (!IsTileOp(operation.op)) return;
    for (const Reference& input : operation.inputs) {
      const Storage& storage = lowering_.storages[input.storage];
      if (storage.producer == kNone || !input.views.empty()) continue;
      const uint32_t producer = group_of_[storage.producer], group = group_of_[id];
      if (!IsTileGroup(producer) || SpaceClass(producer) != SpaceClass(group)) continue;
      const bool frees = consumers_[input.storage].size() == 1 && Widens(storage);
      TryJoin(producer, group, frees);
    }
  }

  // True for a cast to a wider dtype: making it late keeps fewer bytes alive than making it early.
  bool Widens(const Storage& storage) const {
    const Operation& producer = lowering_.operations[storage.producer];
    return producer.op == Op::kCast && ByteSize(graph_.values[producer.inputs[0].value].dtype) <=
                                           ByteSize(graph_.values[storage.value].dtype);
  }

  // Operations that read the same large storage: it is read once.
  void JoinConsumers(StorageId storage) {
    const std::vector<OperationId>& readers = consumers_[storage];
    if (readers.size() < 2 || graph_.values[lowering_.storages[storage].value].rank == 0) return;
    uint32_t previous = kNone;
    for (OperationId reader : readers) {
      const uint32_t group = group_of_[reader];
      if (group == previous || !IsTileGroup(group) || !ReadsWhole(reader, storage)) continue;
      if (previous != kNone && SpaceClass(previous) == SpaceClass(group) &&
          TryJoin(previous, group, false)) {
        previous = group_of_[reader];
      } else {
        previous = group;
      }
    }
  }

  bool ReadsWhole(OperationId reader, StorageId storage) const {
    const Operation& operation = lowering_.operations[reader];
    for (const Reference& input : operation.inputs) {
      if (input.storage == storage && input.views.empty() &&
          lowering_.shape_class[input.value] ==
              lowering_.shape_class[IterationValue(lowering_, operation)]) {
        return true;
      }
    }
    return false;
  }

  Lowering& lowering_;
  const Graph& graph_;
  const std::vector<std::vector<OperationId>> consumers_;
  std::vector<std::vector<OperationId>> groups_;
  std::vector<uint32_t> group_of_;
  // Edges name operations; Find gives the group. Predecessors only serve the first sort.
  std::vector<std::vector<uint32_t>> successors_;
  std::vector<std::vector<uint32_t>> predecessors_;
  std::vector<uint32_t> order_;  // groups in topological order; kNone where one was
  std::vector<uint32_t> position_;
  std::vector<uint32_t> visited_;
  std::vector<uint32_t> stack_;
  uint32_t epoch_ = 0;
  uint32_t commit_ = 0;
  int64_t budget_ = kBudget;
};

}  // namespace

void FuseOperations(Lowering& lowering) { Fuser(lowering).Run(); }

}  // namespace moai
