// Matmul, convolution, pooling.
#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/promote.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

// `x` with its batch dims (all but the last two) expanded.
Tensor ExpandBatch(const Tensor& x, const Shape& batch, Location location) {
  Shape shape = batch;
  shape.push_back(x.size(-2));
  shape.push_back(x.size(-1));
  return x.Expand(shape, location);
}

Shape BatchOf(const Tensor& x) { return Shape(x.shape().span().subspan(0, x.rank() - 2)); }

Tensor RecordMatmul(const Tensor& a, const Tensor& b, const MatmulOptions& options,
                    Location location) {
  const int32_t attributes[] = {options.transpose_a, options.transpose_b};
  return RecordOp1(Op::kMatmul, {a, b}, location, attributes);
}

absl::InlinedVector<int64_t, 13> WindowExtents(const Window& window) {
  return {window.stride[0],       window.stride[1],      window.padding_low[0],
          window.padding_high[0], window.padding_low[1], window.padding_high[1],
          window.dilation[0],     window.dilation[1]};
}

Tensor Pool(Op op, const Tensor& x, std::array<int64_t, 2> size, const Window& window,
            Location location) {
  auto extents = WindowExtents(window);
  extents.insert(extents.end(), size.begin(), size.end());
  return RecordOp1(op, {x}, location, {}, extents);
}

}  // namespace

Tensor Matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Location location) {
  if (!a.ok() || !b.ok()) return RecordMatmul(a, b, options, location);
  if (a.rank() == 0 || b.rank() == 0) {
    return InvalidAt(location, "matmul: operands need a dim, got ", ToString(a.type()), " and ",
                     ToString(b.type()));
  }
  if (a.rank() == 1) {
    return Matmul(a.Unsqueeze(options.transpose_a ? 1 : 0), b, options, location)
        .Squeeze(b.rank() == 1 ? 0 : -2);
  }
  if (b.rank() == 1) {
    return Matmul(a, b.Unsqueeze(options.transpose_b ? 0 : 1), options, location).Squeeze(-1);
  }
  Tensor x = Autocasted(a);
  Tensor y = Autocasted(b);
  if (x.dtype() != y.dtype()) {
    const Dtype dtype = PromoteTypes(x.type(), y.type());
    x = x.To(dtype);
    y = y.To(dtype);
  }
  if (x.rank() > 2 && y.rank() == 2 && !options.transpose_a) {
    // One matrix for every row of the batch: a single large product.
    Shape result = x.shape();
    const Tensor rows = x.Reshape({-1, x.size(-1)}, location);
    const Tensor product = RecordMatmul(rows, y, options, location);
    if (!product.ok()) return product;
    result[x.rank() - 1] = product.size(-1);
    return product.Reshape(result, location);
  }
  if (x.rank() > 2 || y.rank() > 2) {
    const Shape batch_x = BatchOf(x);
    const Shape batch_y = BatchOf(y);
    if (!(batch_x == batch_y)) {
      const std::optional<Shape> batch = BroadcastShapes(batch_x, batch_y);
      if (!batch.has_value()) {
        return InvalidAt(location, "matmul: the batch dims of ", ToString(x.type()), " and ",
                         ToString(y.type()), " do not broadcast");
      }
      x = ExpandBatch(x, *batch, location);
      y = ExpandBatch(y, *batch, location);
    }
  }
  return RecordMatmul(x, y, options, location);
}

Tensor Conv2d(const Tensor& x, const Tensor& weight, const Window& window, int64_t groups,
              Location location) {
  auto extents = WindowExtents(window);
  extents.push_back(groups);
  const Tensor cast = Autocasted(x);
  return RecordOp1(Op::kConv2d, {cast, weight.To(cast.dtype())}, location, {}, extents);
}

Tensor MaxPool2d(const Tensor& x, std::array<int64_t, 2> size, const Window& window,
                 Location location) {
  return Pool(Op::kMaxPool2d, x, size, window, location);
}

Tensor AvgPool2d(const Tensor& x, std::array<int64_t, 2> size, const Window& window,
                 Location location) {
  return Pool(Op::kAvgPool2d, x, size, window, location);
}

Tensor Unfold(const Tensor& x, std::array<int64_t, 2> size, const Window& window,
              Location location) {
  auto extents = WindowExtents(window);
  extents.push_back(1);
  extents.insert(extents.end(), size.begin(), size.end());
  return RecordOp1(Op::kUnfold, {x, Operand(x.dtype(), 0)}, location, {}, extents);
}

Tensor Fold(const Tensor& x, std::array<int64_t, 2> image, const Window& window,
            Location location) {
  auto extents = WindowExtents(window);
  extents.push_back(1);
  extents.insert(extents.end(), image.begin(), image.end());
  return RecordOp1(Op::kFold, {x}, location, {}, extents);
}

}  // namespace moai
