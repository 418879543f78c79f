// An independent check that a program's memory is used rightly, for tests. It knows nothing of how
// the map was made: it follows who wrote each byte of the arena last.
#ifndef MOAI_PROGRAM_PROGRAM_CHECKER_H_
#define MOAI_PROGRAM_PROGRAM_CHECKER_H_

#include "absl/status/status.h"
#include "graph/graph.h"
#include "program/program.h"

namespace moai {

// An error, naming the instruction, where
//   * an operand leaves its buffer, or an output is not dense;
//   * an instruction reads arena bytes that its buffer's writer did not write, or that another
//     buffer was written over;
//   * scratch lies over an operand of its instruction;
//   * an input binding is written, or a slot that existed before is written before the commit
//   point;
//   * an operation that may fail comes after the commit point, unless an earlier one checks the
//     same indices;
//   * what an overlapped collective holds is touched before it is complete, or another collective
//     does not wait for it;
//   * an output of the graph is not written exactly once.
absl::Status CheckProgram(const Graph& graph, const Program& program);

}  // namespace moai

#endif  // MOAI_PROGRAM_PROGRAM_CHECKER_H_
