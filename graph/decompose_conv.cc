// Convolution and pooling, over all windows at once (unfold).
#include <limits>

#include "graph/decompose_internal.h"
#include "graph/op_schema.h"
#include "graph/window.h"

namespace moai::decomposition {
namespace {

using Extents = absl::InlinedVector<int64_t, kConvExtents + 2>;

// The first `count` extents of the node, with groups 1, then two more: as unfold and fold take
// them.
Extents WindowExtents(const Formula& f, int64_t first, int64_t second) {
  const absl::Span<const int64_t> own = f.extents().subspan(0, kPoolExtents);
  Extents extents(own.begin(), own.end());
  extents.insert(extents.end(), {/*groups=*/1, first, second});
  return extents;
}

// [n c h w] -> [n c p q h' w']
Term Unfold(Formula& f, Term x, double padding, int64_t p, int64_t q) {
  return f.Apply(Op::kUnfold, {x, f.Constant(padding, x.dtype())}, {}, WindowExtents(f, p, q));
}

// [n c p q h' w'] -> [n c h w]
Term Fold(Formula& f, Term windows, int64_t h, int64_t w) {
  return f.Apply(Op::kFold, {windows}, {}, WindowExtents(f, h, w));
}

// Sizes of a convolution from the shapes of its weight and of its output.
struct ConvSizes {
  ConvSizes(const Shape& weight, const Shape& y, int64_t groups)
      : n(y[0]),
        groups(groups),
        o(y[1] / groups),
        c(weight[1]),
        p(weight[2]),
        q(weight[3]),
        h(y[2]),
        w(y[3]) {}

  int64_t contracted() const { return c * p * q; }
  Shape WeightMatrix() const { return {groups, o, contracted()}; }
  Shape WindowMatrix() const { return {n, groups, contracted(), h * w}; }
  Shape OutputMatrix() const { return {n, groups, o, h * w}; }
  Shape Windows() const { return {n, groups * c, p, q, h, w}; }

  int64_t n, groups;
  int64_t o, c;  // output and input channels of a group
  int64_t p, q;  // window
  int64_t h, w;  // of the output
};

// [o c p q] -> [n g o/g (c p q)]
Term WeightMatrices(Term weight, const ConvSizes& sizes) {
  const Shape matrix = sizes.WeightMatrix();
  return Broadcast(Reshape(Widen(weight), matrix), {sizes.n, matrix[0], matrix[1], matrix[2]},
                   {1, 2, 3});
}

}  // namespace

void Conv2d(Formula& f) {
  const Term x = Widen(f.input(0)), weight = f.input(1);
  const Shape w = weight.shape();
  const Window window = ConvWindow(f.extents(), w[2], w[3]);
  const Shape y = {x.shape()[0], w[0], window.h.OutputExtent(x.shape()[2]),
                   window.w.OutputExtent(x.shape()[3])};
  const ConvSizes sizes(w, y, window.groups);
  const Term windows = Reshape(Unfold(f, x, 0, w[2], w[3]), sizes.WindowMatrix());
  f.Output(Cast(Reshape(Matmul(WeightMatrices(weight, sizes), windows), y), f.input(0).dtype()));
}

void Conv2dGradInput(Formula& f) {
  const Term dy = Widen(f.input(0)), weight = f.input(1);
  const ConvSizes sizes(weight.shape(), dy.shape(), f.extent(kConvExtents - 1));
  const Term windows = Matmul(WeightMatrices(weight, sizes), Reshape(dy, sizes.OutputMatrix()),
                              /*transpose_a=*/true);
  const Term dx = Fold(f, Reshape(windows, sizes.Windows()), f.extent(kConvExtents),
                       f.extent(kConvExtents + 1));
  f.Output(Cast(dx, f.input(0).dtype()));
}

void Conv2dGradWeight(Formula& f) {
  const Term dy = Widen(f.input(0)), x = Widen(f.input(1));
  const int64_t groups = f.extent(kConvExtents - 1);
  const int64_t p = f.extent(kConvExtents), q = f.extent(kConvExtents + 1);
  const Shape weight = {dy.shape()[1], x.shape()[1] / groups, p, q};
  const ConvSizes sizes(weight, dy.shape(), groups);
  const Term windows = Reshape(Unfold(f, x, 0, p, q), sizes.WindowMatrix());
  const Term by_image = Matmul(Reshape(dy, sizes.OutputMatrix()), windows, /*transpose_a=*/false,
                               /*transpose_b=*/true);
  const Term dweight = Reduce(Op::kReduceSum, by_image, {0});
  f.Output(Cast(Reshape(dweight, weight), f.input(0).dtype()));
}

void MaxPool2d(Formula& f) {
  const double lowest = -std::numeric_limits<double>::infinity();
  const Term windows = Unfold(f, f.input(0), lowest, f.extent(8), f.extent(9));
  f.Output(Reduce(Op::kReduceMax, windows, {2, 3}));
}

void MaxPool2dGrad(Formula& f) {
  const Term x = f.input(0), dy = Widen(f.input(2));
  const int64_t p = f.extent(8), q = f.extent(9);
  const double lowest = -std::numeric_limits<double>::infinity();
  const Term windows = Unfold(f, x, lowest, p, q);
  const Shape shape = windows.shape();
  const Shape lines = {shape[0], shape[1], p * q, shape[4], shape[5]};
  // The maxima of a window that are not padding; NaN is one.
  const Term ones = Broadcast(f.Constant(1, x.dtype()), x.shape(), {});
  const Term inside = Compare(Op::kGt, Unfold(f, ones, 0, p, q), 0);
  const Term maximum = Unreduce(Reduce(Op::kReduceMax, windows, {2, 3}), shape, {2, 3});
  const Term equal =
      f.Apply(Op::kOr, {Compare(Op::kEq, windows, maximum), Apply(Op::kIsNan, windows)});
  const Term candidates = Reshape(f.Apply(Op::kAnd, {equal, inside}), lines);
  const Term first = f.Apply(Op::kArgmax, {Cast(candidates, Dtype::kI32)}, {/*axis=*/2});
  const Term position = f.Iota(Dtype::kI64, lines, 2);
  const Term chosen =
      f.Apply(Op::kAnd, {candidates, Compare(Op::kEq, position, Unreduce(first, lines, {2}))});
  const Term zero = f.Constant(0, dy.dtype());
  const Term gradient = Select(chosen, Unreduce(dy, lines, {2}), zero);
  const Term dx = Fold(f, Reshape(gradient, shape), x.shape()[2], x.shape()[3]);
  f.Output(Cast(dx, x.dtype()));
}

void AvgPool2d(Formula& f) {
  const Term x = Widen(f.input(0));
  const Term windows = Unfold(f, x, 0, f.extent(8), f.extent(9));
  f.Output(Cast(Reduce(Op::kReduceMean, windows, {2, 3}), f.input(0).dtype()));
}

void AvgPool2dGrad(Formula& f) {
  const Term dy = Widen(f.input(0));
  const int64_t p = f.extent(8), q = f.extent(9), h = f.extent(10), w = f.extent(11);
  const Shape y = dy.shape();
  const Term share = dy * (1 / static_cast<double>(p * q));
  const Term windows = Unreduce(share, {y[0], y[1], p, q, y[2], y[3]}, {2, 3});
  f.Output(Cast(Fold(f, windows, h, w), f.input(0).dtype()));
}

}  // namespace moai::decomposition
