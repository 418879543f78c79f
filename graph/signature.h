// The index signature of one node: op_table.def's text, instantiated for ranks and axes.
#ifndef MOAI_GRAPH_SIGNATURE_H_
#define MOAI_GRAPH_SIGNATURE_H_

#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

enum class IndexKind : uint8_t {
  kParallel,  // on both sides; split freely
  kContract,  // only on the left; splitting gives Partial(reduce)
  kMasked,    // lookup table rows; splitting gives Partial(sum) after masking foreign ids
  kHalo,      // split with neighbours' rows
  kWhole,     // not split
};

enum class ReduceKind : uint8_t { kNone, kSum, kMax, kMin, kProd, kAnd, kOr };

struct Index {
  std::string name;
  IndexKind kind = IndexKind::kParallel;
  ReduceKind reduce = ReduceKind::kNone;
};

inline constexpr int8_t kNoIndex = -1;  // a dim that no index names (broadcast from nothing)

struct IndexSignature {
  std::vector<Index> indices;
  // For each operand, the index of each of its dims.
  std::vector<absl::InlinedVector<int8_t, kMaxRank>> inputs;
  std::vector<absl::InlinedVector<int8_t, kMaxRank>> outputs;
};

// Reshape maps factors of dims and is not expressed here (see planner); its dims are kWhole unless
// input and output agree. Requires a node that InferNode accepts.
absl::StatusOr<IndexSignature> InstantiateSignature(const Node& node,
                                                    absl::Span<const TensorType> inputs,
                                                    absl::Span<const TensorType> outputs);

}  // namespace moai

#endif  // MOAI_GRAPH_SIGNATURE_H_
