// Sends and receives next to each other are executed at once: none of them waits for another one to
// be complete. A stage gives its activations away without waiting for the gradients that it gets.
#ifndef MOAI_PROGRAM_TRANSFER_RUNS_H_
#define MOAI_PROGRAM_TRANSFER_RUNS_H_

#include <cstdint>

#include "program/program.h"

namespace moai {

// Instructions [begin, end).
struct TransferRun {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// The run that instruction `index`, a transfer, belongs to: receives, then sends, on one side of
// the commit point; and what one of them writes no other one touches.
//
// Devices meet in the order of the graph (OrderCollectives), which runs keep among themselves: a
// run is a stretch of that order, of which OrderGroups puts the receives first. So devices do not
// wait in a circle: of all transfers that are not complete, both ends of the first have come to its
// run, where nothing keeps them from it.
TransferRun TransferRunOf(const Program& program, uint32_t index);

}  // namespace moai

#endif  // MOAI_PROGRAM_TRANSFER_RUNS_H_
