// Blocks of a graph that are alike, one after another: the layers of a model, with what belongs to
// each in the backward pass and in the updates. Found by structure alone.
#ifndef MOAI_SCHEDULER_PLANNING_REPEATED_BLOCKS_H_
#define MOAI_SCHEDULER_PLANNING_REPEATED_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// Blocks are numbered in a row, not always in the order in which they run. A value belongs to a
// block where it has a counterpart in every other one: made by an equal node of counterparts, or of
// what all blocks share. A node belongs where its results do.
struct RepeatedBlocks {
  static constexpr int32_t kOutside = -1;
  static constexpr ValueId kNone = UINT32_MAX;

  // How many are alike; 0: nothing repeats. The first and the last may differ from the rest in what
  // they read from outside the row.
  int32_t count = 0;
  std::vector<int32_t> block;  // by value: 0 .. count - 1, or kOutside
  std::vector<ValueId> next;   // by value of a block but the last: the counterpart in the next one

  // The counterpart `steps` blocks on. Requires that the value is of a block and there are so many.
  ValueId After(ValueId value, int32_t steps) const {
    while (steps-- > 0) value = next[value];
    return value;
  }
};

// The row that covers most nodes, of at least `least` blocks. `types` of every value.
//
// Heavy nodes whose sequence is periodic give the first counterparts; from them, operands of
// counterparts are counterparts, and so are readers where they agree. What does not fit is outside;
// a row in which something outside depends on one of its inner blocks is none.
RepeatedBlocks FindRepeatedBlocks(const Graph& graph, absl::Span<const int64_t> sizes,
                                  absl::Span<const TensorType> types, int32_t least = 4);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_REPEATED_BLOCKS_H_
