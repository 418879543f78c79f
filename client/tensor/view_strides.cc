#include "client/tensor/view_strides.h"

namespace moai {

std::optional<Shape> ReshapedStrides(const Shape& shape, const Shape& strides, const Shape& to) {
  if (to.elements() == 0) return DenseStrides(to);
  Shape result = Shape::Filled(to.rank(), 1);
  int next = to.rank() - 1;  // dim of `to` to be given a stride, from the innermost outwards
  int dim = shape.rank() - 1;
  while (dim >= 0) {
    if (shape[dim] == 1) {
      --dim;
      continue;
    }
    // A run of dims that lie densely one in the other acts as one dim of `count` elements.
    const int64_t step = strides[dim];
    int64_t count = shape[dim];
    for (--dim; dim >= 0; --dim) {
      if (shape[dim] == 1) continue;
      if (strides[dim] != step * count) break;
      count *= shape[dim];
    }
    int64_t covered = 1;
    while (covered < count && next >= 0) {
      result[next] = step * covered;
      covered *= to[next--];
    }
    if (covered != count) return std::nullopt;
  }
  return result;  // dims that are left have extent 1: any stride will do
}

}  // namespace moai
