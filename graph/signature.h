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
  kParallel,  // split freely; an output that does not have the index is the same for every part
  kContract,  // splitting gives Partial(reduce) in the outputs that do not have the index
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

// Requires a node that InferNode accepts. What the table's text leaves open is decided so that a
// split that is declared legal is right with unchanged attributes and extents (but for extents that
// state a shape, which state the part's):
//   * Reshape maps factors of dims and is not expressed here (see planner); its dims are kWhole but
//     for the leading and trailing ones that input and output have in common.
//   * An index whose dims have different extents is kWhole: a sliced, padded or joined dim, the
//     channels of a grouped convolution. Dims that are repeated (broadcast, mask) are kNoIndex.
//   * Dims whose elements know their position are kWhole: flipped ones, those of iota's axis, of
//     random numbers, of the triangle of tril and triu, the queries of causal attention.
//   * All dims of a collective are kWhole.
//   * Attention's query heads and key heads share one index, `h`; a part of it holds h / g query
//     heads for each of its key heads.
absl::StatusOr<IndexSignature> InstantiateSignature(const Node& node,
                                                    absl::Span<const TensorType> inputs,
                                                    absl::Span<const TensorType> outputs);

}  // namespace moai

#endif  // MOAI_GRAPH_SIGNATURE_H_
