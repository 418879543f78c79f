// Primitives that move elements without changing them.
#include "graph/reference_internal.h"

namespace moai::reference {
namespace {

// out[i] = x[base + index(i) * strides], in row-major order of the output.
absl::Status Gather(const NodeRun& run, const Shape& strides, int64_t base) {
  VisitElements(run.out(), [&](auto& out) {
    const auto& x = ElementsLike(out, run.in(0));
    auto next = out.begin();
    ForEachOffset(run.out_shape(), strides, base, [&](int64_t offset) { *next++ = x[offset]; });
  });
  return absl::OkStatus();
}

absl::Status RunTranspose(const NodeRun& run) {
  const Shape dense = DenseStrides(run.in_shape(0));
  Shape strides;
  for (int32_t dim : run.node.attributes) strides.push_back(dense[dim]);
  return Gather(run, strides, 0);
}

absl::Status RunBroadcast(const NodeRun& run) {
  const Shape dense = DenseStrides(run.in_shape(0));
  Shape strides = Shape::Filled(run.out_shape().rank(), 0);
  for (int dim = 0; dim < run.in_shape(0).rank(); ++dim) {
    if (run.in_shape(0)[dim] != 1) strides[run.node.attributes[1 + dim]] = dense[dim];
  }
  return Gather(run, strides, 0);
}

absl::Status RunSlice(const NodeRun& run) {
  Shape strides = DenseStrides(run.in_shape(0));
  int64_t base = 0;
  for (int dim = 0; dim < strides.rank(); ++dim) {
    base += run.extents[3 * dim] * strides[dim];
    // An extent of 1 or less is never stepped over, and a huge step could overflow.
    strides[dim] *= run.out_shape()[dim] > 1 ? run.extents[3 * dim + 2] : 0;
  }
  return Gather(run, strides, base);
}

absl::Status RunFlip(const NodeRun& run) {
  Shape strides = DenseStrides(run.in_shape(0));
  int64_t base = 0;
  for (int32_t dim : run.node.attributes) {
    base += (run.in_shape(0)[dim] - 1) * strides[dim];
    strides[dim] = -strides[dim];
  }
  return Gather(run, strides, base);
}

absl::Status RunPad(const NodeRun& run) {
  const Shape strides = DenseStrides(run.out_shape());
  int64_t base = 0;
  for (int dim = 0; dim < strides.rank(); ++dim) base += run.extents[2 * dim] * strides[dim];
  VisitElements(run.out(), [&](auto& out) {
    const auto& x = ElementsLike(out, run.in(0));
    std::fill(out.begin(), out.end(), ElementsLike(out, run.in(1))[0]);
    auto next = x.begin();
    ForEachOffset(run.in_shape(0), strides, base, [&](int64_t offset) { out[offset] = *next++; });
  });
  return absl::OkStatus();
}

absl::Status RunConcat(const NodeRun& run) {
  const AxisView to = ViewAxis(run.out_shape(), run.axis());
  VisitElements(run.out(), [&](auto& out) {
    int64_t start = 0;
    for (const ReferenceTensor* input : run.inputs) {
      const auto& x = ElementsLike(out, *input);
      const int64_t row = input->type.shape[run.axis()] * to.inner;
      for (int64_t o = 0; o < to.outer; ++o) {
        std::copy_n(x.begin() + o * row, row, out.begin() + to.At(o, start, 0));
      }
      start += input->type.shape[run.axis()];
    }
  });
  return absl::OkStatus();
}

}  // namespace

AxisView ViewAxis(const Shape& shape, int axis) {
  AxisView view{.extent = shape[axis]};
  for (int dim = 0; dim < axis; ++dim) view.outer *= shape[dim];
  for (int dim = axis + 1; dim < shape.rank(); ++dim) view.inner *= shape[dim];
  return view;
}

absl::Status RunMovement(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kReshape:
      run.out().floats = run.in(0).floats;
      run.out().integers = run.in(0).integers;
      return absl::OkStatus();
    case Op::kTranspose:
      return RunTranspose(run);
    case Op::kBroadcast:
      return RunBroadcast(run);
    case Op::kSlice:
      return RunSlice(run);
    case Op::kFlip:
      return RunFlip(run);
    case Op::kPad:
      return RunPad(run);
    case Op::kConcat:
      return RunConcat(run);
    default:
      return NotOfThisFamily(run);
  }
}

}  // namespace moai::reference
