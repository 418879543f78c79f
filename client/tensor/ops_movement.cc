// Ops that move elements.
#include <algorithm>
#include <vector>

#include "client/tensor/ops.h"
#include "client/tensor/promote.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

Tensor Triangle(Op op, const Tensor& x, int64_t diagonal, Location location) {
  const int64_t extents[] = {diagonal};
  return RecordOp1(op, {x}, location, {}, extents);
}

// What Concat and Stack need of all parts.
const Tensor* FirstBad(absl::Span<const Tensor> parts) {
  for (const Tensor& part : parts) {
    if (!part.ok()) return &part;
  }
  return nullptr;
}

}  // namespace

Tensor BroadcastTo(const Tensor& x, const Shape& shape, Location location) {
  return x.Expand(shape, location);
}

Tensor Flip(const Tensor& x, absl::Span<const int> dims, Location location) {
  const auto axes = ResolveDims(dims, x.rank());
  if (x.ok() && !axes.has_value()) {
    return InvalidAt(location, "flip: dims that are not in ", ToString(x.type()));
  }
  return RecordOp1(Op::kFlip, {x}, location, axes.value_or(absl::InlinedVector<int32_t, 4>()));
}

Tensor Pad(const Tensor& x, absl::Span<const int64_t> low, absl::Span<const int64_t> high,
           double value, Location location) {
  if (low.size() != high.size()) {
    return InvalidAt(location, "pad: ", low.size(), " low and ", high.size(), " high paddings");
  }
  absl::InlinedVector<int64_t, 8> extents;
  for (size_t d = 0; d < low.size(); ++d) {
    extents.push_back(low[d]);
    extents.push_back(high[d]);
  }
  return RecordOp1(Op::kPad, {x, Operand(x.dtype(), value)}, location, {}, extents);
}

Tensor Concat(absl::Span<const Tensor> parts, int dim, Location location) {
  if (parts.empty()) return InvalidAt(location, "concat: no tensors");
  if (const Tensor* bad = FirstBad(parts)) return RecordOp1(Op::kConcat, {*bad}, location);
  const std::optional<int> axis = ResolveDim(dim, parts[0].rank());
  if (!axis.has_value()) {
    return InvalidAt(location, "concat: no dim ", dim, " in ", ToString(parts[0].type()));
  }
  Dtype dtype = parts[0].dtype();
  for (const Tensor& part : parts) dtype = PromoteTypes({dtype, part.shape()}, part.type());
  std::vector<Tensor> cast;
  for (const Tensor& part : parts) cast.push_back(part.To(dtype));
  const std::vector<Operand> operands(cast.begin(), cast.end());
  const int32_t attributes[] = {*axis};
  Tensor result;
  RecordOp({.op = Op::kConcat, .inputs = operands, .attributes = attributes, .location = location},
           absl::MakeSpan(&result, 1));
  return result;
}

Tensor Stack(absl::Span<const Tensor> parts, int dim, Location location) {
  if (parts.empty()) return InvalidAt(location, "stack: no tensors");
  std::vector<Tensor> rows;
  for (const Tensor& part : parts) rows.push_back(part.Unsqueeze(dim, location));
  return Concat(rows, dim, location);
}

Tensor SliceUpdate(const Tensor& x, const Tensor& update, absl::Span<const int64_t> start,
                   absl::Span<const int64_t> step, Location location) {
  if (start.size() != step.size()) {
    return InvalidAt(location, "slice_update: ", start.size(), " starts and ", step.size(),
                     " steps");
  }
  absl::InlinedVector<int64_t, 8> extents;
  for (size_t d = 0; d < start.size(); ++d) {
    extents.push_back(start[d]);
    extents.push_back(step[d]);
  }
  return RecordOp1(Op::kSliceUpdate, {x, update}, location, {}, extents);
}

Tensor Tril(const Tensor& x, int64_t diagonal, Location location) {
  return Triangle(Op::kTril, x, diagonal, location);
}
Tensor Triu(const Tensor& x, int64_t diagonal, Location location) {
  return Triangle(Op::kTriu, x, diagonal, location);
}

}  // namespace moai
