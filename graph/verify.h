// The gate through which every graph from a peer must pass before anything else looks at it.
#ifndef MOAI_GRAPH_VERIFY_H_
#define MOAI_GRAPH_VERIFY_H_

#include "absl/status/status.h"
#include "graph/graph.h"

namespace moai {

// Bounds on what a client may ask for in one graph; larger ones are refused with the limit's name.
inline constexpr size_t kMaxNodes = 1 << 17;
inline constexpr size_t kMaxInputs = 1 << 16;
inline constexpr size_t kMaxOutputs = 1 << 16;
inline constexpr size_t kMaxExtents = 1 << 20;

struct VerifyOptions {
  // For graphs that the partitioner made. A client's may not exchange anything with other devices.
  bool allow_collectives = false;
};

// Checks the structure: ops and kinds are known, ids are in range and in SSA order, counts agree
// with the op table, bindings are used once, dtypes and ranks are what inference over kinds gives,
// extent counts add up. InvalidArgument names the node (or input, output) and the field.
// Thread-safe.
absl::Status VerifyStructure(const Graph& graph, const VerifyOptions& options = {});

}  // namespace moai

#endif  // MOAI_GRAPH_VERIFY_H_
