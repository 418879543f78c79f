// Shared by the files of the reference interpreter (interpreter.cc, reference_*.cc); not for
// others.
#ifndef MOAI_GRAPH_REFERENCE_INTERNAL_H_
#define MOAI_GRAPH_REFERENCE_INTERNAL_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "graph/interpreter.h"

namespace moai::reference {

// One node to run. Its types are what InferNode gave; outputs come filled with zeros.
struct NodeRun {
  const Node& node;
  absl::Span<const int64_t> extents;
  absl::Span<const ReferenceTensor* const> inputs;
  absl::Span<ReferenceTensor> outputs;

  const ReferenceTensor& in(size_t i) const { return *inputs[i]; }
  ReferenceTensor& out(size_t i = 0) const { return outputs[i]; }
  const Shape& in_shape(size_t i) const { return inputs[i]->type.shape; }
  const Shape& out_shape(size_t i = 0) const { return outputs[i].type.shape; }
  int axis() const { return node.attributes[0]; }
};

// The primitives, by family. Each returns Unimplemented, naming the op, for an op that is not its
// own.
absl::Status RunPointwise(const NodeRun& run);
absl::Status RunMovement(const NodeRun& run);
absl::Status RunCreation(const NodeRun& run);  // iota, fill, random numbers
absl::Status RunReduce(const NodeRun& run);
absl::Status RunOrder(const NodeRun& run);
absl::Status RunMatmul(const NodeRun& run);
absl::Status RunWindow(const NodeRun& run);  // unfold, fold
absl::Status RunIndexed(const NodeRun& run);

inline absl::Status NotOfThisFamily(const NodeRun& run) {
  return absl::UnimplementedError(
      absl::StrCat(Name(run.node.op), ": the reference interpreter has no such primitive"));
}

// The integer that a dtype holds after arithmetic whose exact result is `value` modulo 2^64.
constexpr int64_t Wrap(uint64_t value, Dtype dtype) {
  switch (dtype) {
    case Dtype::kI32:
      return static_cast<int32_t>(static_cast<uint32_t>(value));
    case Dtype::kU8:
      return static_cast<uint8_t>(value);
    case Dtype::kBool:
      return value != 0;
    default:
      return static_cast<int64_t>(value);
  }
}

// Least and greatest number of an integer dtype.
std::pair<int64_t, int64_t> IntegerRange(Dtype dtype);

// Calls visit with the elements of the tensor: std::vector<double> or std::vector<int64_t>.
template <typename Tensor, typename Visitor>
auto VisitElements(Tensor& tensor, Visitor&& visit) {
  return IsFloat(tensor.type.dtype) ? visit(tensor.floats) : visit(tensor.integers);
}

// The elements of the same sort as `like`, of which a VisitElements is under way.
inline const std::vector<double>& ElementsLike(const std::vector<double>&,
                                               const ReferenceTensor& tensor) {
  return tensor.floats;
}
inline const std::vector<int64_t>& ElementsLike(const std::vector<int64_t>&,
                                                const ReferenceTensor& tensor) {
  return tensor.integers;
}

// A tensor seen as [outer, extent, inner] around one axis.
struct AxisView {
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;
  int64_t At(int64_t o, int64_t i, int64_t k) const { return (o * extent + i) * inner + k; }
};
AxisView ViewAxis(const Shape& shape, int axis);

// Calls visit(offset) for each element of `shape` in row-major order, offset being
// base + sum of index * strides.
template <typename Visitor>
void ForEachOffset(const Shape& shape, const Shape& strides, int64_t base, Visitor&& visit) {
  const int64_t elements = shape.elements();
  const int rank = shape.rank();
  Shape index = Shape::Filled(rank, 0);
  int64_t offset = base;
  for (int64_t i = 0; i < elements; ++i) {
    visit(offset);
    for (int dim = rank - 1; dim >= 0; --dim) {
      offset += strides[dim];
      if (++index[dim] < shape[dim]) break;
      offset -= strides[dim] * shape[dim];
      index[dim] = 0;
    }
  }
}

}  // namespace moai::reference

#endif  // MOAI_GRAPH_REFERENCE_INTERNAL_H_
