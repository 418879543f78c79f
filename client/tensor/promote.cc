#include "client/tensor/promote.h"

#include <algorithm>

namespace moai {
namespace {

// bool < integers < floats: a tensor of a lower kind never changes one of a higher kind.
int Kind(Dtype dtype) { return IsFloat(dtype) ? 2 : IsInteger(dtype) ? 1 : 0; }

Dtype Wider(Dtype a, Dtype b) {
  if (a == b) return a;
  if (ByteSize(a) == ByteSize(b)) return Dtype::kF32;  // bf16 and f16
  return ByteSize(a) > ByteSize(b) ? a : b;
}

}  // namespace

std::optional<Shape> BroadcastShapes(const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  const int added = longer.rank() - shorter.rank();
  for (int d = 0; d < shorter.rank(); ++d) {
    int64_t& extent = result[added + d];
    if (extent == shorter[d] || shorter[d] == 1) continue;
    if (extent != 1) return std::nullopt;
    extent = shorter[d];
  }
  return result;
}

Dtype PromoteTypes(const TensorType& a, const TensorType& b) {
  if (a.dtype == b.dtype) return a.dtype;
  const int kind_a = Kind(a.dtype);
  const int kind_b = Kind(b.dtype);
  if (kind_a != kind_b) return kind_a > kind_b ? a.dtype : b.dtype;
  const bool rank0_a = a.shape.rank() == 0;
  const bool rank0_b = b.shape.rank() == 0;
  if (rank0_a != rank0_b) return rank0_a ? b.dtype : a.dtype;
  return Wider(a.dtype, b.dtype);
}

}  // namespace moai
