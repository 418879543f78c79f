// Which dims of a graph's tensors belong together. A dim is a product of factors; dims that some
// node runs through as one index share their factors, also through reshapes that join or part dims
// (cf. TOAST, arXiv 2508.15010). Splitting a factor splits every dim that has it.
#ifndef MOAI_SCHEDULER_PARTITION_FACTORS_H_
#define MOAI_SCHEDULER_PARTITION_FACTORS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "graph/graph.h"
#include "graph/signature.h"
#include "scheduler/placement.h"

namespace moai {

using FactorId = uint32_t;
inline constexpr FactorId kNoFactor = UINT32_MAX;

// One place in a tensor where a factor stands: [outer, count, unit] of a dim, with outer * count *
// unit elements.
struct FactorPlace {
  FactorId factor = kNoFactor;
  int64_t outer = 1;
  int64_t count = 1;
  int64_t unit = 1;
};

// Immutable once made.
class Factors {
 public:
  // `types` of every value; `signatures` of every node. No extent that is 0 or 1 has a factor.
  static Factors Analyze(const Graph& graph, absl::Span<const TensorType> types,
                         absl::Span<const IndexSignature> signatures);

  // The factors of one dim, outermost first.
  absl::Span<const FactorPlace> Of(ValueId value, int dim) const {
    return absl::MakeConstSpan(places_).subspan(
        begins_[first_dim_[value] + dim],
        begins_[first_dim_[value] + dim + 1] - begins_[first_dim_[value] + dim]);
  }
  // Factors are numbered from 0 in the order in which values first have them.
  size_t count() const { return extents_.size(); }
  int64_t extent(FactorId factor) const { return extents_[factor]; }

 private:
  std::vector<FactorPlace> places_;
  std::vector<uint32_t> begins_;     // per dim of each value, into places_; one more at the end
  std::vector<uint32_t> first_dim_;  // per value, into begins_
  std::vector<int64_t> extents_;
};

// The placement that splits a tensor there.
inline AxisPlacement ShardAt(int dim, const FactorPlace& place) {
  return {.kind = PlacementKind::kShard,
          .dim = int8_t(dim),
          .outer = place.outer,
          .count = place.count,
          .unit = place.unit};
}

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_FACTORS_H_
