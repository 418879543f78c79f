// Makes one graph of two that are submitted one after the other, the second taking values that the
// first made: a training step whose loss is read before its backward pass.
#ifndef MOAI_SCHEDULER_REGION_JOIN_GRAPHS_H_
#define MOAI_SCHEDULER_REGION_JOIN_GRAPHS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// What the bindings of the second graph are to the first one.
struct RegionBindings {
  static constexpr uint32_t kOwn = UINT32_MAX;  // nothing that the first has

  // By the second's binding: the same binding of the first, or kOwn. Feeds are the same where
  // their bytes are.
  std::vector<uint32_t> slots;
  std::vector<uint32_t> values;
  std::vector<uint32_t> feeds;
  // By the second's value binding: the value output of the first that it is, or kOwn.
  std::vector<uint32_t> outputs;
  // By value output of the first: wanted by others than the second.
  std::vector<bool> keep;

  friend bool operator==(const RegionBindings&, const RegionBindings&) = default;
};

// The first graph's bindings keep their positions, the second's own ones follow. Value outputs:
// those of the first that are kept, then the second's.
struct JoinedGraph {
  Graph graph;
  Sizes sizes;
  // By the second's binding: the binding of the joined graph; of a value that the first made, kOwn.
  std::vector<uint32_t> slots;
  std::vector<uint32_t> values;
  std::vector<uint32_t> feeds;
};

// A verified graph, its sizes and the types of its values.
struct SizedGraph {
  const Graph* graph = nullptr;
  absl::Span<const int64_t> sizes;
  absl::Span<const TensorType> types;
};

// InvalidArgument where bindings that are said to be the same differ in type, where the first graph
// writes a slot, or where the two together are larger than a graph may be. The result verifies.
absl::StatusOr<JoinedGraph> JoinGraphs(const SizedGraph& first, const SizedGraph& second,
                                       const RegionBindings& bindings);

}  // namespace moai

#endif  // MOAI_SCHEDULER_REGION_JOIN_GRAPHS_H_
