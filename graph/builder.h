// Records a graph node by node, inferring types and hashing as it goes.
#ifndef MOAI_GRAPH_BUILDER_H_
#define MOAI_GRAPH_BUILDER_H_

#include <initializer_list>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/fingerprint.h"
#include "graph/graph.h"

namespace moai {

// Everything one execution needs, apart from the bytes of bound tensors.
struct CapturedGraph {
  Graph graph;
  Sizes sizes;
  std::vector<TensorType> types;  // of every value
  Fingerprint fingerprint;
};

// Owns the graph under construction. Not thread-safe: one recording thread at a time.
class GraphBuilder {
 public:
  // Inputs may be added between nodes. `index` is the position among the bindings of that kind; the
  // counts in Graph follow from the largest.
  ValueId AddInput(InputKind kind, uint32_t index, const TensorType& type);
  ValueId AddScalar(Dtype dtype);  // the next scalar position

  // Appends a node and returns its first output; further outputs follow consecutively.
  // InvalidArgument, with nothing recorded, where the op table forbids it.
  absl::StatusOr<ValueId> AddNode(Op op, absl::Span<const ValueId> inputs,
                                  absl::Span<const int32_t> attributes = {},
                                  absl::Span<const int64_t> extents = {},
                                  absl::Span<const double> numbers = {});

  void AddOutput(OutputKind kind, ValueId value, uint32_t index = 0);

  const TensorType& type(ValueId value) const { return types_[value]; }
  const Graph& graph() const { return graph_; }
  size_t node_count() const { return graph_.nodes.size(); }

  // Takes what was recorded and leaves the builder empty.
  CapturedGraph Finish();

 private:
  Graph graph_;
  Sizes input_sizes_;  // inputs come first in the size vector; Finish joins the two
  Sizes node_sizes_;
  std::vector<TensorType> types_;
  FingerprintBuilder fingerprint_;
};

}  // namespace moai

#endif  // MOAI_GRAPH_BUILDER_H_
