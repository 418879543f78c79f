// What the passes between a graph and a ProgramTemplate work on. Structure only: no extents.
//
// Values of the graph become *storages* (dense memory that one operation fills, or that a binding
// supplies) and *references*: a storage seen through a chain of view nodes. Nodes become
// *operations*; view nodes vanish, and copies appear where a view must be made dense.
#ifndef MOAI_PROGRAM_LOWERING_H_
#define MOAI_PROGRAM_LOWERING_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "graph/graph.h"
#include "program/program.h"

namespace moai {

using StorageId = uint32_t;
using OperationId = uint32_t;
inline constexpr uint32_t kNone = UINT32_MAX;

struct Storage {
  BufferKind kind = BufferKind::kArena;
  uint32_t index = 0;            // binding or output, where the kind has one
  bool updates_slot = false;     // kSlot: the memory of a slot that existed before, rewritten
  ValueId value = 0;             // whose type the memory has
  OperationId producer = kNone;  // kNone: supplied by a binding
};

// A value as an operand: storage, then view nodes from the storage outward. The result has the type
// of graph value `value`.
struct Reference {
  StorageId storage = 0;
  ValueId value = 0;
  absl::InlinedVector<uint32_t, 2> views;  // node indices
};

struct Operation {
  Op op = Op::kInvalid;  // kInvalid: a copy of inputs[0] into outputs[0]
  uint32_t node = 0;     // where it came from
  // Of the node; a matmul's transpose flags may have been toggled.
  absl::InlinedVector<int32_t, 4> attributes;
  absl::InlinedVector<Reference, 4> inputs;
  absl::InlinedVector<StorageId, 3> outputs;
  bool may_fail = false;         // raises the step's error flag; must come before the commit point
  bool precedes_commit = false;  // must, though it raises nothing
};

// A claim that instantiation must find true: extent `extent` of the size vector equals extent
// `other` of it, or, where that is kNone, dim `dim` of value `value`.
struct Assumption {
  uint32_t extent = 0;
  uint32_t other = kNone;
  ValueId value = 0;
  int dim = 0;
};

struct Lowering {
  const Graph* graph = nullptr;
  std::vector<bool> live;             // per node
  std::vector<StorageId> storage_of;  // per value: of inputs and node outputs; kNone for views
  std::vector<Reference> references;  // per value that is an input or made by a live node
  std::vector<Storage> storages;
  std::vector<Operation> operations;  // in an order that satisfies data dependencies
  std::vector<uint32_t> shape_class;  // per value: equal classes have equal shapes
  // Order constraints beside data: first before second
  std::vector<std::pair<OperationId, OperationId>> order_edges;
  // Operations that write a slot that existed before: after the commit point.
  std::vector<OperationId> committed;
  std::vector<Assumption> assumptions;
  // Fusion: groups of operations in execution order; operations of a group ascend.
  std::vector<std::vector<OperationId>> groups;
  // How many of `groups` come before the commit point.
  uint32_t groups_before_commit = 0;
};

// Per operation: the group that it is in, kNone where it is in none.
inline std::vector<uint32_t> GroupOfOperations(const Lowering& lowering) {
  std::vector<uint32_t> group_of(lowering.operations.size(), kNone);
  for (uint32_t group = 0; group < lowering.groups.size(); ++group) {
    for (OperationId id : lowering.groups[group]) group_of[id] = group;
  }
  return group_of;
}

inline bool IsCopy(const Lowering& lowering, const std::vector<OperationId>& group) {
  return group.size() == 1 && lowering.operations[group.front()].op == Op::kInvalid;
}

inline bool IsReshape(const Graph& graph, uint32_t node) {
  return graph.nodes[node].op == Op::kReshape;
}

// True where the reference is dense row-major whatever the sizes: only reshapes.
inline bool AlwaysDense(const Graph& graph, const Reference& reference) {
  for (uint32_t node : reference.views) {
    if (!IsReshape(graph, node)) return false;
  }
  return true;
}

}  // namespace moai

#endif  // MOAI_PROGRAM_LOWERING_H_
