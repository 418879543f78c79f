// The views of a tensor.
#include <algorithm>
#include <utility>

#include "client/capture/recorder.h"
#include "client/tensor/record_op.h"
#include "client/tensor/view_strides.h"

namespace moai {
namespace {

Shape StridesOf(const TensorImpl& impl) {
  return impl.view ? impl.view->strides : DenseStrides(impl.type.shape);
}

// A view of `tensor`, which is neither undefined nor poisoned.
Tensor MakeView(const Tensor& tensor, Op op, absl::Span<const int32_t> attributes,
                absl::Span<const int64_t> extents, const Shape& strides, Location location) {
  if (const Ref<Recorder>& recorder = Recorder::Current()) {
    if (absl::Status status = recorder->Begin(); !status.ok()) return PoisonedAt(location, status);
  }
  const TensorImpl& of = *tensor.impl();
  Ref<TensorImpl> impl(new TensorImpl());
  impl->storage = of.storage;
  impl->detached = of.detached || !GradEnabled();
  impl->view = Ref<View>(new View());
  impl->view->op = op;
  impl->view->attributes.assign(attributes.begin(), attributes.end());
  impl->view->extents.assign(extents.begin(), extents.end());
  impl->view->input_type = of.type;
  impl->view->parent = of.view;
  impl->view->strides = strides;
  const absl::StatusOr<const Version*> version = ReadVersion(*impl);
  if (!version.ok()) return PoisonedAt(location, version.status());
  impl->type = (*version)->value->type();
  return Tensor(std::move(impl));
}

// The tensor itself where it cannot be viewed at all: what follows then gives its error.
bool Unusable(const Tensor& tensor) { return !tensor.ok(); }
Tensor UnusableResult(const Tensor& tensor, absl::string_view op, Location location) {
  return tensor.defined() ? tensor : InvalidAt(location, op, ": the tensor is undefined");
}

Tensor BadDim(absl::string_view op, int dim, const Tensor& tensor, Location location) {
  return InvalidAt(location, op, ": no dim ", dim, " in ", ToString(tensor.type()));
}

Tensor SliceView(const Tensor& tensor, int dim, int64_t start, int64_t limit, int64_t step,
                 Location location) {
  absl::InlinedVector<int64_t, 12> extents;
  Shape strides = StridesOf(*tensor.impl());
  for (int d = 0; d < tensor.rank(); ++d) {
    const bool sliced = d == dim;
    extents.push_back(sliced ? start : 0);
    extents.push_back(sliced ? limit : tensor.shape()[d]);
    extents.push_back(sliced ? step : 1);
  }
  strides[dim] *= step;
  return MakeView(tensor, Op::kSlice, {}, extents, strides, location);
}

}  // namespace

Tensor Tensor::Reshape(const Shape& shape, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "reshape", location);
  Shape to = shape;
  int64_t known = 1;
  int unknown = -1;
  for (int d = 0; d < to.rank(); ++d) {
    if (to[d] == -1 && unknown < 0) {
      unknown = d;
    } else {
      known *= to[d];
    }
  }
  if (unknown >= 0) to[unknown] = known > 0 ? elements() / known : 0;
  if (!WithinLimits(to) || to.elements() != elements()) {
    return InvalidAt(location, "reshape: ", ToString(type()), " has ", elements(),
                     " elements, which do not fit ", ToString(shape));
  }
  if (to == this->shape()) return *this;
  const int32_t rank[] = {to.rank()};
  const std::optional<Shape> strides = ReshapedStrides(this->shape(), StridesOf(*impl_), to);
  if (!strides.has_value()) {
    return RecordOp1(Op::kReshape, {*this}, location, rank, to.span());
  }
  return MakeView(*this, Op::kReshape, rank, to.span(), *strides, location);
}

Tensor Tensor::Permute(absl::Span<const int> dims, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "permute", location);
  const auto distinct = ResolveDims(dims, rank());
  if (!distinct.has_value() || static_cast<int>(dims.size()) != rank()) {
    return InvalidAt(location, "permute: ", dims.size(), " dims are no permutation of the dims of ",
                     ToString(type()));
  }
  absl::InlinedVector<int32_t, 8> permutation;
  Shape strides;
  const Shape before = StridesOf(*impl_);
  for (int dim : dims) {
    permutation.push_back(*ResolveDim(dim, rank()));
    strides.push_back(before[permutation.back()]);
  }
  return MakeView(*this, Op::kTranspose, permutation, {}, strides, location);
}

Tensor Tensor::Transpose(int dim0, int dim1, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "transpose", location);
  const std::optional<int> a = ResolveDim(dim0, rank());
  const std::optional<int> b = ResolveDim(dim1, rank());
  if (!a.has_value()) return BadDim("transpose", dim0, *this, location);
  if (!b.has_value()) return BadDim("transpose", dim1, *this, location);
  absl::InlinedVector<int, 8> dims;
  for (int d = 0; d < rank(); ++d) dims.push_back(d == *a ? *b : d == *b ? *a : d);
  return Permute(dims, location);
}

Tensor Tensor::Slice(int dim, int64_t start, int64_t limit, int64_t step, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "slice", location);
  const std::optional<int> d = ResolveDim(dim, rank());
  if (!d.has_value()) return BadDim("slice", dim, *this, location);
  if (step < 1) return InvalidAt(location, "slice: the step must be at least 1, got ", step);
  const int64_t extent = shape()[*d];
  if (start < 0) start += extent;
  if (limit < 0) limit += extent;
  start = std::clamp<int64_t>(start, 0, extent);
  limit = std::clamp<int64_t>(limit, start, extent);
  return SliceView(*this, *d, start, limit, step, location);
}

Tensor Tensor::Narrow(int dim, int64_t start, int64_t length, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "narrow", location);
  const std::optional<int> d = ResolveDim(dim, rank());
  if (!d.has_value()) return BadDim("narrow", dim, *this, location);
  const int64_t extent = shape()[*d];
  if (start < 0 || length < 0 || start > extent || length > extent - start) {
    return InvalidAt(location, "narrow: ", length, " elements from ", start, " are not in dim ",
                     dim, " of ", ToString(type()));
  }
  return SliceView(*this, *d, start, start + length, 1, location);
}

Tensor Tensor::Select(int dim, int64_t position, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "select", location);
  const std::optional<int> d = ResolveDim(dim, rank());
  if (!d.has_value()) return BadDim("select", dim, *this, location);
  const int64_t extent = shape()[*d];
  if (position < -extent || position >= extent) {
    return InvalidAt(location, "select: no position ", position, " in dim ", dim, " of ",
                     ToString(type()));
  }
  if (position < 0) position += extent;
  return SliceView(*this, *d, position, position + 1, 1, location).Squeeze(*d, location);
}

Tensor Tensor::Unsqueeze(int dim, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "unsqueeze", location);
  const std::optional<int> d = ResolveDim(dim, rank() + 1);
  if (!d.has_value() || rank() == kMaxRank) return BadDim("unsqueeze", dim, *this, location);
  Shape to = shape();
  to.Insert(*d, 1);
  return Reshape(to, location);
}

Tensor Tensor::Squeeze(int dim, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "squeeze", location);
  const std::optional<int> d = ResolveDim(dim, rank());
  if (!d.has_value()) return BadDim("squeeze", dim, *this, location);
  if (shape()[*d] != 1) return *this;
  Shape to = shape();
  to.Erase(*d);
  return Reshape(to, location);
}

Tensor Tensor::Expand(const Shape& shape, Location location) const {
  if (Unusable(*this)) return UnusableResult(*this, "expand", location);
  const int added = shape.rank() - rank();
  Shape to = shape;
  Shape strides = Shape::Filled(shape.rank(), 0);
  const Shape before = StridesOf(*impl_);
  absl::InlinedVector<int32_t, 9> attributes = {shape.rank()};
  bool fits = added >= 0;
  for (int d = 0; fits && d < rank(); ++d) {
    if (to[added + d] == -1) to[added + d] = this->shape()[d];
    fits = this->shape()[d] == to[added + d] || this->shape()[d] == 1;
    if (this->shape()[d] == to[added + d]) strides[added + d] = before[d];
    attributes.push_back(added + d);
  }
  if (!fits || !WithinLimits(to)) {
    return InvalidAt(location, "expand: ", ToString(type()), " does not expand to ",
                     ToString(shape));
  }
  if (to == this->shape()) return *this;
  return MakeView(*this, Op::kBroadcast, attributes, to.span(), strides, location);
}

}  // namespace moai
