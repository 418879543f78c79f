// What a node costs at least: arithmetic and memory traffic, derived from op and types.
#ifndef MOAI_GRAPH_COST_H_
#define MOAI_GRAPH_COST_H_

#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

struct NodeCost {
  double flops = 0;       // floating point operations (a multiply-add is two)
  double bytes_read = 0;  // each input element once; of a lookup table, the rows that are named
  double bytes_written = 0;
};

// Requires a node that InferNode accepts. Views cost nothing.
NodeCost CostOf(const Node& node, absl::Span<const TensorType> inputs,
                absl::Span<const TensorType> outputs);

}  // namespace moai

#endif  // MOAI_GRAPH_COST_H_
