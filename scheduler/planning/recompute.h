// Trades memory for arithmetic: values that would live from the forward to the backward pass are
// computed again where the backward pass reads them (Chen et al., arXiv 1604.06174; selective:
// Korthikanti et al., arXiv 2205.05198).
//
// Knows no layers and no passes: only where the most bytes are alive, which values cross that
// place, and how narrow the graph is elsewhere.
#ifndef MOAI_SCHEDULER_PLANNING_RECOMPUTE_H_
#define MOAI_SCHEDULER_PLANNING_RECOMPUTE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

enum class RecomputeMode : uint8_t {
  kNone,
  kSelective,  // what light nodes make from values that are kept
  kFull,       // everything between the narrow places of the forward pass
};

absl::string_view Name(RecomputeMode mode);

struct RewrittenGraph {
  Graph graph;
  std::vector<int64_t> sizes;
  std::vector<TensorType> types;
};

// A graph of the same bindings and results. Equal to the original where nothing is worth
// recomputing. Random numbers are the same: they are counted by element and op instance.
absl::StatusOr<RewrittenGraph> Recompute(const Graph& graph, absl::Span<const int64_t> sizes,
                                         absl::Span<const TensorType> types, RecomputeMode mode);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_RECOMPUTE_H_
