// A graph in which one of many repeated blocks stands for most of them, so that what is worked out
// for a plan costs as much as the blocks that differ, not as the layers.
#ifndef MOAI_SCHEDULER_PLANNING_REDUCED_GRAPH_H_
#define MOAI_SCHEDULER_PLANNING_REDUCED_GRAPH_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/planning/repeated_blocks.h"

namespace moai {

struct ReducedGraph {
  // Where a value stands to the block of its row that stands for others: `kInside` are of that
  // block, `kBefore` and `kAfter` of its neighbours, which are like it.
  enum class Position : uint8_t { kOutside, kBefore, kInside, kAfter };
  struct Place {
    uint32_t row = 0;  // of blocks; a model may have several (encoder, decoder)
    Position position = Position::kOutside;
    ValueId inside = RepeatedBlocks::kNone;  // the counterpart in the block that stands for others
  };

  Graph graph;  // its bindings are numbered anew
  std::vector<int64_t> sizes;
  std::vector<TensorType> types;
  // By value of the whole graph: the one here that is it, or stands for it.
  std::vector<ValueId> stands_for;
  // By value here: one of those of the whole graph that it stands for, the first.
  std::vector<ValueId> whole_value;
  std::vector<Place> places;       // by value here
  std::vector<uint32_t> producer;  // by value here: its node; UINT32_MAX of graph inputs
  uint32_t rows = 0;               // 0: nothing was left out
};

// Leaves out blocks of one row, but for `keep` of them (at least 3). What a block that stays reads
// of one that goes is replaced by what that one's counterpart next to the gap makes. Sums over all
// blocks have fewer terms. FailedPrecondition where the order of nodes does not allow it.
absl::StatusOr<ReducedGraph> LeaveOutBlocks(const Graph& graph, absl::Span<const int64_t> sizes,
                                            absl::Span<const TensorType> types,
                                            const RepeatedBlocks& blocks, int32_t keep = 3);

// Every row of the graph, one after the other, reduced to 3 blocks. A graph that repeats nothing
// comes back as it is, with no rows.
absl::StatusOr<ReducedGraph> ReduceGraph(const Graph& graph, absl::Span<const int64_t> sizes,
                                         absl::Span<const TensorType> types);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_REDUCED_GRAPH_H_
