#include "graph/shape.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace moai {

void Shape::Insert(int dim, int64_t extent) {
  for (int i = rank_; i > dim; --i) extents_[i] = extents_[i - 1];
  extents_[dim] = extent;
  ++rank_;
}

void Shape::Erase(int dim) {
  for (int i = dim; i + 1 < rank_; ++i) extents_[i] = extents_[i + 1];
  extents_[--rank_] = 0;
}

bool WithinLimits(const Shape& shape) {
  int64_t product = 1;
  for (int64_t extent : shape) {
    if (extent < 0) return false;
    if (extent > 1 && product > kMaxElements / extent) return false;
    product *= extent > 1 ? extent : 1;
  }
  return true;
}

Shape DenseStrides(const Shape& shape) {
  Shape strides = Shape::Filled(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

std::string ToString(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape.span(), ", "), "]");
}

std::string ToString(const TensorType& type) {
  return absl::StrCat(Name(type.dtype), ToString(type.shape));
}

}  // namespace moai
