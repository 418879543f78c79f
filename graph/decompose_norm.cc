// Norms: each normalises over some axes of x (or of a reshaped x) and then applies a weight and a
// bias along others.
#include "graph/decompose_internal.h"

namespace moai::decomposition {
namespace {

using Axes = absl::InlinedVector<int32_t, kMaxRank>;

// All dims of `shape` but one.
Axes AllBut(const Shape& shape, int32_t kept) {
  Axes axes;
  for (int32_t dim = 0; dim < shape.rank(); ++dim) {
    if (dim != kept) axes.push_back(dim);
  }
  return axes;
}

// What a norm does to the shape of x.
struct Layout {
  Shape shape;        // of x
  Shape normalized;   // x is reshaped to this ...
  Axes axes;          // ... and normalised over these dims of it
  int32_t parameter;  // the dim of x that weight and bias go along
};

Layout OverLastDim(const Shape& shape) {
  const int32_t last = shape.rank() - 1;
  return {shape, shape, {last}, last};
}

Layout OverGroups(const Shape& shape, int64_t groups) {
  int64_t group_elements = shape[1] / groups;
  for (int dim = 2; dim < shape.rank(); ++dim) group_elements *= shape[dim];
  return {shape, {shape[0], groups, group_elements}, {2}, 1};
}

Layout OverBatch(const Shape& shape) { return {shape, shape, AllBut(shape, 1), 1}; }

class Norm {
 public:
  Norm(Formula& f, Layout layout)
      : f_(f), layout_(std::move(layout)), x_(Normalized(Widen(f.input(0)))) {}

  Term x() const { return x_; }
  Term Mean(Term x) const { return Reduce(Op::kReduceMean, x, layout_.axes); }
  Term Repeat(Term statistic) const {
    return Unreduce(statistic, layout_.normalized, layout_.axes);
  }

  // Reshaped as the statistics are taken.
  Term Normalized(Term x) const { return Reshape(x, layout_.normalized); }
  // The weight or bias, repeated to x's shape and then reshaped likewise.
  Term Parameter(size_t input) const {
    const Term parameter = Cast(Widen(f_.input(input)), x_.dtype());
    return Normalized(Broadcast(parameter, layout_.shape, {layout_.parameter}));
  }

  void OutputLikeX(Term y) const {
    f_.Output(Cast(Reshape(y, layout_.shape), f_.input(0).dtype()));
  }
  // Sums a gradient over all that shares an element of the parameter.
  void OutputParameterGradient(Term g) const {
    const Term sum =
        Reduce(Op::kReduceSum, Reshape(g, layout_.shape), AllBut(layout_.shape, layout_.parameter));
    f_.Output(Cast(sum, f_.input(1).dtype()));
  }

 private:
  Formula& f_;
  const Layout layout_;
  const Term x_;
};

Term ReciprocalDeviation(Term variance, double eps) { return Apply(Op::kRsqrt, variance + eps); }

// x, weight, bias -> y, mean, and rstd or the variance.
void Forward(Formula& f, Layout layout, bool outputs_variance) {
  const Norm norm(f, std::move(layout));
  const Term mean = norm.Mean(norm.x());
  const Term centered = norm.x() - norm.Repeat(mean);
  const Term variance = norm.Mean(centered * centered);
  const Term rstd = ReciprocalDeviation(variance, f.number(0));
  norm.OutputLikeX(centered * norm.Repeat(rstd) * norm.Parameter(1) + norm.Parameter(2));
  f.Output(mean);
  f.Output(outputs_variance ? variance : rstd);
}

// x, weight, mean, (rstd), dy -> dx, dweight, dbias.
void Backward(Formula& f, Layout layout, Term rstd) {
  const Norm norm(f, std::move(layout));
  const Term repeated_rstd = norm.Repeat(rstd);
  const Term normal = (norm.x() - norm.Repeat(f.input(2))) * repeated_rstd;
  const Term dy = norm.Normalized(Widen(f.input(4)));
  const Term g = dy * norm.Parameter(1);
  const Term along = normal * norm.Repeat(norm.Mean(g * normal));
  norm.OutputLikeX((g - norm.Repeat(norm.Mean(g)) - along) * repeated_rstd);
  norm.OutputParameterGradient(dy * normal);
  norm.OutputParameterGradient(dy);
}

}  // namespace

void LayerNorm(Formula& f) { Forward(f, OverLastDim(f.input(0).shape()), false); }
void LayerNormGrad(Formula& f) { Backward(f, OverLastDim(f.input(0).shape()), f.input(3)); }

void GroupNorm(Formula& f) { Forward(f, OverGroups(f.input(0).shape(), f.extent(0)), false); }
void GroupNormGrad(Formula& f) {
  Backward(f, OverGroups(f.input(0).shape(), f.extent(0)), f.input(3));
}

void BatchNorm(Formula& f) { Forward(f, OverBatch(f.input(0).shape()), true); }
void BatchNormGrad(Formula& f) {
  Backward(f, OverBatch(f.input(0).shape()), ReciprocalDeviation(f.input(3), f.number(0)));
}

void RmsNorm(Formula& f) {
  const Norm norm(f, OverLastDim(f.input(0).shape()));
  const Term rstd = ReciprocalDeviation(norm.Mean(norm.x() * norm.x()), f.number(0));
  norm.OutputLikeX(norm.x() * norm.Repeat(rstd) * norm.Parameter(1));
  f.Output(rstd);
}

void RmsNormGrad(Formula& f) {
  const Norm norm(f, OverLastDim(f.input(0).shape()));
  const Term rstd = norm.Repeat(f.input(2));
  const Term normal = norm.x() * rstd;
  const Term dy = Widen(f.input(3));
  const Term g = dy * norm.Parameter(1);
  norm.OutputLikeX((g - normal * norm.Repeat(norm.Mean(g * normal))) * rstd);
  norm.OutputParameterGradient(dy * normal);
}

}  // namespace moai::decomposition
