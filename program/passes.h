// The passes from a graph to a ProgramTemplate, in the order in which compile.cc runs them.
// Each is a function in its own file and works on a Lowering in place.
#ifndef MOAI_PROGRAM_PASSES_H_
#define MOAI_PROGRAM_PASSES_H_

#include "absl/status/status.h"
#include "program/lowering.h"

namespace moai {

// Fills `live`: nodes that an output needs. The rest is never lowered.
void MarkLiveNodes(Lowering& lowering);

// Fills `shape_class`: values that must have equal shapes, whatever the sizes are.
void ClassifyShapes(Lowering& lowering);

// Turns live nodes into operations over storages. Views become references; a copy is made only
// where a consumer takes dense operands. A matmul takes a swap of the last two dims as a flag.
void ResolveViews(Lowering& lowering);

// Marks operations that may fail; leaves out those whose check an earlier operation makes.
void FindFailures(Lowering& lowering);

// Keeps collectives in the order of the graph, whatever else moves: members of a group must meet in
// the same order, and each device's program is ordered on its own, by its own sizes. Where a device
// sends to or receives from another one, all its collectives precede the commit point: devices
// agree at theirs, and programs of different structure might not have them at the same place
// between two collectives, so that each would wait for the other.
void OrderCollectives(Lowering& lowering);

// Gives every output its memory: the storage of its value where possible, else that of a copy.
// Slots that existed before are written in place where order allows it: after the commit point and
// after the last reader of the old value; else through a copy at the end.
// InvalidArgument where an output changes the dtype or rank of its slot.
absl::Status PlaceOutputs(Lowering& lowering);

// Groups operations into fused kernels; groups run in any order that data and order_edges allow.
void FuseOperations(Lowering& lowering);

// Orders groups: as recorded, but what only updates slots comes as soon as it can, so that
// gradients die early. Finds the commit point. Internal if constraints contradict each other.
absl::Status OrderGroups(Lowering& lowering);

// True for operations that must come before the commit point.
bool PrecedesCommit(const Operation& operation);
// True for ops that tile kernels run.
bool IsTileOp(Op op);
// True for tile ops that combine elements along axes.
bool IsTileReduction(Op op);
// The value whose shape an operation of a tile kernel iterates over.
ValueId IterationValue(const Lowering& lowering, const Operation& operation);

}  // namespace moai

#endif  // MOAI_PROGRAM_PASSES_H_
