// Reductions, order and prefix.
#include "client/tensor/ops.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

Tensor Reduce(Op op, const Tensor& x, DimList dims, Dims keep, Location location) {
  if (!x.ok()) return RecordOp1(op, {x}, location);
  absl::InlinedVector<int32_t, 4> axes;
  if (dims.size() == 0) {
    for (int d = 0; d < x.rank(); ++d) axes.push_back(d);
  } else {
    auto resolved = ResolveDims(absl::Span<const int>(dims.begin(), dims.size()), x.rank());
    if (!resolved.has_value()) {
      return InvalidAt(location, Name(op), ": dims that are not in ", ToString(x.type()),
                       ", or one twice");
    }
    axes = *std::move(resolved);
  }
  Tensor result = RecordOp1(op, {x}, location, axes);
  if (keep == Dims::kDrop || !result.ok()) return result;
  Shape kept = x.shape();
  for (int32_t axis : axes) kept[axis] = 1;
  return result.Reshape(kept, location);
}

// Ops along one dim.
Tensor Along(Op op, const Tensor& x, int dim, Location location) {
  const std::optional<int> axis = ResolveDim(dim, x.rank());
  if (x.ok() && !axis.has_value()) {
    return InvalidAt(location, Name(op), ": no dim ", dim, " in ", ToString(x.type()));
  }
  const int32_t attributes[] = {axis.value_or(0)};
  return RecordOp1(op, {x}, location, attributes);
}

Tensor AsFloat(const Tensor& x) { return IsFloat(x.dtype()) ? x : x.To(Dtype::kF32); }
// Sums of bool count.
Tensor AsNumber(const Tensor& x) { return x.dtype() == Dtype::kBool ? x.To(Dtype::kI64) : x; }

Sorted Pair(std::array<Tensor, 2> outputs) { return {outputs[0], outputs[1]}; }

}  // namespace

Tensor Sum(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceSum, AsNumber(x), dims, keep, location);
}
Tensor Mean(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceMean, AsFloat(x), dims, keep, location);
}
Tensor Max(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceMax, x, dims, keep, location);
}
Tensor Min(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceMin, x, dims, keep, location);
}
Tensor Prod(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceProd, x, dims, keep, location);
}
Tensor Any(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceAny, x.To(Dtype::kBool), dims, keep, location);
}
Tensor All(const Tensor& x, DimList dims, Dims keep, Location location) {
  return Reduce(Op::kReduceAll, x.To(Dtype::kBool), dims, keep, location);
}
Tensor Argmax(const Tensor& x, int dim, Location location) {
  return Along(Op::kArgmax, x, dim, location);
}
Tensor Argmin(const Tensor& x, int dim, Location location) {
  return Along(Op::kArgmin, x, dim, location);
}
Tensor Cumsum(const Tensor& x, int dim, Location location) {
  return Along(Op::kCumsum, x, dim, location);
}

Sorted Sort(const Tensor& x, int dim, Order order, Location location) {
  const std::optional<int> axis = ResolveDim(dim, x.rank());
  if (x.ok() && !axis.has_value()) {
    const Tensor bad = InvalidAt(location, "sort: no dim ", dim, " in ", ToString(x.type()));
    return {bad, bad};
  }
  const int32_t attributes[] = {axis.value_or(0), order == Order::kDescending};
  return Pair(RecordOps<2>(Op::kSort, {x}, location, attributes));
}

Sorted TopK(const Tensor& x, int64_t k, int dim, Location location) {
  const std::optional<int> axis = ResolveDim(dim, x.rank());
  if (x.ok() && !axis.has_value()) {
    const Tensor bad = InvalidAt(location, "top_k: no dim ", dim, " in ", ToString(x.type()));
    return {bad, bad};
  }
  const int32_t attributes[] = {axis.value_or(0)};
  const int64_t extents[] = {k};
  return Pair(RecordOps<2>(Op::kTopK, {x}, location, attributes, extents));
}

}  // namespace moai
