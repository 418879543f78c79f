// Inference without sizes: what a node's structure alone says of its outputs. The verifier runs
// only this part; InferNode runs it and then the sizes.
#ifndef MOAI_GRAPH_INFER_KINDS_H_
#define MOAI_GRAPH_INFER_KINDS_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// Dtypes and ranks of operands, read from either of the places that hold them.
class Kinds {
 public:
  explicit Kinds(absl::Span<const Value> values) : values_(values.data()), size_(values.size()) {}
  explicit Kinds(absl::Span<const TensorType> types) : types_(types.data()), size_(types.size()) {}

  size_t size() const { return size_; }
  Value operator[](size_t i) const { return {dtype(i), static_cast<uint8_t>(rank(i))}; }
  Dtype dtype(size_t i) const { return values_ != nullptr ? values_[i].dtype : types_[i].dtype; }
  int rank(size_t i) const { return values_ != nullptr ? values_[i].rank : types_[i].shape.rank(); }

 private:
  const Value* values_ = nullptr;
  const TensorType* types_ = nullptr;
  size_t size_;
};

// Checks op, counts, attributes, numbers, dtypes and ranks of a node, and gives the dtype and rank
// of each output. `inputs` must have node.inputs.size() entries with ranks 0 .. kMaxRank and valid
// dtypes; `outputs` room for the op's outputs. Does not allocate on success. Thread-safe.
absl::Status InferKinds(const Node& node, Kinds inputs, absl::Span<Value> outputs);

// The dtype part of the above (infer_dtype.cc). Requires counts and attributes to be right.
absl::Status InferDtypes(const Node& node, const Kinds& inputs, absl::Span<Value> outputs);

// Statistics and losses of a float dtype are kept in this one: f64 for f64, else f32.
constexpr Dtype StatisticDtype(Dtype dtype) { return dtype == Dtype::kF64 ? dtype : Dtype::kF32; }

}  // namespace moai

#endif  // MOAI_GRAPH_INFER_KINDS_H_
