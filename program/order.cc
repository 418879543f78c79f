#include <algorithm>
#include <queue>

#include "program/early_sums.h"
#include "program/passes.h"

namespace moai {
namespace {

// The groups of a lowering as a graph; the commit point is one more node, the last.
struct GroupGraph {
  std::vector<std::vector<uint32_t>> successors;
  std::vector<uint32_t> predecessors;  // how many

  void AddEdge(uint32_t from, uint32_t to) {
    if (from == to) return;
    successors[from].push_back(to);
    ++predecessors[to];
  }
};

GroupGraph BuildGroupGraph(const Lowering& lowering) {
  const uint32_t commit = static_cast<uint32_t>(lowering.groups.size());
  GroupGraph graph;
  graph.successors.resize(commit + 1);
  graph.predecessors.resize(commit + 1, 0);
  const std::vector<uint32_t> group_of = GroupOfOperations(lowering);
  for (OperationId id = 0; id < lowering.operations.size(); ++id) {
    const Operation& operation = lowering.operations[id];
    for (const Reference& input : operation.inputs) {
      const OperationId producer = lowering.storages[input.storage].producer;
      if (producer != kNone) graph.AddEdge(group_of[producer], group_of[id]);
    }
    if (PrecedesCommit(operation)) graph.AddEdge(group_of[id], commit);
  }
  for (const auto& [first, second] : lowering.order_edges) {
    graph.AddEdge(group_of[first], group_of[second]);
  }
  for (OperationId id : lowering.committed) graph.AddEdge(commit, group_of[id]);
  return graph;
}

// True where running the group early can only free memory: it fills no temporaries.
bool FillsOnlyOutputs(const Lowering& lowering, const std::vector<OperationId>& group) {
  for (OperationId id : group) {
    for (StorageId output : lowering.operations[id].outputs) {
      if (lowering.storages[output].kind == BufferKind::kArena) return false;
    }
  }
  return true;
}

bool IsCollectiveGroup(const Lowering& lowering, const std::vector<OperationId>& group) {
  const Op op = lowering.operations[group.front()].op;  // a collective is a group of its own
  return op != Op::kInvalid && IsCollective(op);
}

bool Receives(const Lowering& lowering, const std::vector<OperationId>& group) {
  return lowering.operations[group.front()].op == Op::kRecv;
}

// Puts the receives of each stretch of transfers first, so that it is one run (transfer_runs.h).
class TransferOrder {
 public:
  TransferOrder(const Lowering& lowering, std::vector<std::vector<OperationId>>& groups)
      : lowering_(lowering), groups_(groups), read_(lowering.storages.size(), false) {
    for (const Operation& operation : lowering.operations) {
      for (const Reference& input : operation.inputs) read_[input.storage] = true;
    }
  }

  void Run() {
    for (size_t i = 0; i < groups_.size();) {
      const size_t begin = i;
      while (i < groups_.size() && IsTransfer(OperationOf(i).op)) ++i;
      Arrange(begin, i);
      if (i == begin) ++i;
    }
  }

 private:
  const Operation& OperationOf(size_t group) const {
    return lowering_.operations[groups_[group].front()];
  }

  void Arrange(size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Operation& operation = OperationOf(i);
      // One that sends what is received first would no longer follow it; what nobody reads may
      // share its memory with what comes after it. Here and from here on, the order stays.
      if (SendsReceived(begin, i) || (operation.op == Op::kRecv && !read_[operation.outputs[0]])) {
        ReceiveFirst(begin, i);
        return;
      }
    }
    ReceiveFirst(begin, end);
  }

  bool SendsReceived(size_t begin, size_t at) const {
    const Operation& operation = OperationOf(at);
    if (operation.op != Op::kSend) return false;
    const OperationId producer = lowering_.storages[operation.inputs[0].storage].producer;
    return std::any_of(groups_.begin() + int64_t(begin), groups_.begin() + int64_t(at),
                       [producer](const auto& group) { return group.front() == producer; });
  }

  void ReceiveFirst(size_t begin, size_t end) {
    std::stable_partition(groups_.begin() + int64_t(begin), groups_.begin() + int64_t(end),
                          [this](const auto& group) { return Receives(lowering_, group); });
  }

  const Lowering& lowering_;
  std::vector<std::vector<OperationId>>& groups_;
  std::vector<bool> read_;  // by storage
};

}  // namespace

absl::Status OrderGroups(Lowering& lowering) {
  const uint32_t commit = static_cast<uint32_t>(lowering.groups.size());
  GroupGraph graph = BuildGroupGraph(lowering);

  std::vector<bool> updates(commit + 1, false);
  for (uint32_t group = 0; group < commit; ++group) {
    updates[group] = FillsOnlyOutputs(lowering, lowering.groups[group]);
  }

  // Lowest key first: the place of the group's last operation as recorded, or at once.
  const std::vector<bool> early = LeadToEarlySums(lowering);
  std::vector<uint32_t> keys(commit + 1, 0);
  for (uint32_t group = 0; group < commit; ++group) {
    if (!updates[group] && !early[group]) keys[group] = lowering.groups[group].back() + 1;
  }
  // Who receives waits for the sender: not before there is nothing else to do.
  // From the last one, so that those which wait for each other all wait.
  for (uint32_t group = commit; group-- > 0;) {
    if (!Receives(lowering, lowering.groups[group])) continue;
    uint32_t first = kNone;
    for (uint32_t next : graph.successors[group]) {
      if (keys[next] > 0) first = std::min(first, keys[next]);
    }
    if (first != kNone) keys[group] = std::max(keys[group], first);
  }
  using Entry = std::pair<uint32_t, uint32_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  const auto push = [&](uint32_t group) { ready.push({keys[group], group}); };
  for (uint32_t group = 0; group <= commit; ++group) {
    if (graph.predecessors[group] == 0) push(group);
  }

  // What only updates slots with a collective's result, or with a copy of a part of it, comes after
  // the next collective, so that the one can go on beside what leads to the other (overlap.h).
  const auto can_wait = [&](uint32_t group) {
    if (group == commit || updates[group]) return group != commit;
    const std::vector<uint32_t>& after = graph.successors[group];
    return IsCopy(lowering, lowering.groups[group]) && !after.empty() &&
           std::all_of(after.begin(), after.end(), [&](uint32_t next) { return updates[next]; });
  };
  std::vector<uint32_t> held;
  const auto release_held = [&] {
    for (uint32_t group : held) push(group);
    held.clear();
  };

  std::vector<std::vector<OperationId>> ordered;
  ordered.reserve(commit);
  while (!ready.empty() || !held.empty()) {
    if (ready.empty()) release_held();
    const uint32_t group = ready.top().second;
    ready.pop();
    const bool collective = group != commit && IsCollectiveGroup(lowering, lowering.groups[group]);
    if (collective) release_held();
    if (group == commit) {
      lowering.groups_before_commit = static_cast<uint32_t>(ordered.size());
    } else {
      ordered.push_back(std::move(lowering.groups[group]));
    }
    for (uint32_t next : graph.successors[group]) {
      if (--graph.predecessors[next] > 0) continue;
      if (collective && can_wait(next)) {
        held.push_back(next);
      } else {
        push(next);
      }
    }
  }
  if (ordered.size() != commit) {
    return absl::InternalError("operations of a program wait for each other in a circle");
  }
  TransferOrder(lowering, ordered).Run();
  lowering.groups = std::move(ordered);
  return absl::OkStatus();
}

}  // namespace moai
