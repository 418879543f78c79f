#include <algorithm>
#include <queue>

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
  std::vector<uint32_t> group_of(lowering.operations.size(), kNone);
  for (uint32_t group = 0; group < commit; ++group) {
    for (OperationId id : lowering.groups[group]) group_of[id] = group;
  }
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

bool IsCopy(const Lowering& lowering, const std::vector<OperationId>& group) {
  return group.size() == 1 && lowering.operations[group.front()].op == Op::kInvalid;
}

bool IsCollectiveGroup(const Lowering& lowering, const std::vector<OperationId>& group) {
  const Op op = lowering.operations[group.front()].op;  // a collective is a group of its own
  return op != Op::kInvalid && IsCollective(op);
}

bool Receives(const Lowering& lowering, const std::vector<OperationId>& group) {
  return lowering.operations[group.front()].op == Op::kRecv;
}

}  // namespace

absl::Status OrderGroups(Lowering& lowering) {
  const uint32_t commit = static_cast<uint32_t>(lowering.groups.size());
  GroupGraph graph = BuildGroupGraph(lowering);

  std::vector<bool> updates(commit + 1, false);
  for (uint32_t group = 0; group < commit; ++group) {
    updates[group] = FillsOnlyOutputs(lowering, lowering.groups[group]);
  }

  // Lowest key first: the place of the group's last operation as recorded, or at once.
  std::vector<uint32_t> keys(commit + 1, 0);
  for (uint32_t group = 0; group < commit; ++group) {
    if (!updates[group]) keys[group] = lowering.groups[group].back() + 1;
  }
  // Who receives waits for the sender: not before there is nothing else to do.
  for (uint32_t group = 0; group < commit; ++group) {
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
  lowering.groups = std::move(ordered);
  return absl::OkStatus();
}

}  // namespace moai
