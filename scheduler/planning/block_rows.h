// Numbers the blocks of values that repeat. The private half of repeated_blocks.
#ifndef MOAI_SCHEDULER_PLANNING_BLOCK_ROWS_H_
#define MOAI_SCHEDULER_PLANNING_BLOCK_ROWS_H_

#include <cstddef>
#include <vector>

#include "graph/graph.h"
#include "scheduler/planning/repeated_blocks.h"

namespace moai {

// A value and its counterparts in the blocks after it.
using ValueRow = std::vector<ValueId>;

// Gives every value of the rows a block. Rows whose nodes alternate are of one pass over the blocks
// (forward, backward, updates); within a pass the k-th of each row are of one block, so that what a
// block reads of its own pass is made in it or in the one that runs before it. Passes are
// numbered so that what they read of each other is as near as can be.
// Rows shorter than `least` are left outside.
RepeatedBlocks NumberBlocks(const Graph& graph, std::vector<ValueRow> rows, size_t least);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_BLOCK_ROWS_H_
