// Activations, triangles, slice_update, rotary embedding, AdamW.
#include <cmath>

#include "graph/decompose_internal.h"

namespace moai::decomposition {

void Silu(Formula& f) {
  const Term x = Widen(f.input(0));
  f.Output(Cast(x * Apply(Op::kSigmoid, x), f.input(0).dtype()));
}

// x Phi(x), Phi being the distribution function of the standard normal.
void Gelu(Formula& f) {
  const Term x = Widen(f.input(0));
  const Term phi = (Apply(Op::kErf, x * std::sqrt(0.5)) + 1) * 0.5;
  f.Output(Cast(x * phi, f.input(0).dtype()));
}

namespace {

// Keeps elements for which `compare(column, row + diagonal)`.
void Triangle(Formula& f, Op compare) {
  const Term x = f.input(0);
  const Shape shape = x.shape();
  const int rank = shape.rank();
  const Term row = f.Iota(Dtype::kI64, shape, rank - 2);
  const Term column = f.Iota(Dtype::kI64, shape, rank - 1);
  // A constant is a double, which holds every diagonal that fits a tensor.
  const Term kept = Compare(compare, column, row + static_cast<double>(f.extent(0)));
  f.Output(Select(kept, x, f.Constant(0, x.dtype())));
}

}  // namespace

void Tril(Formula& f) { Triangle(f, Op::kLe); }
void Triu(Formula& f) { Triangle(f, Op::kGe); }

// Scatters the update into x, both flattened.
void SliceUpdate(Formula& f) {
  const Term x = f.input(0), update = f.input(1);
  const Shape shape = x.shape(), strides = DenseStrides(shape), replaced = update.shape();
  if (replaced.elements() == 0) return f.Output(Reshape(x, shape));
  Term position = Broadcast(f.Constant(0, Dtype::kI64), replaced, {});
  for (int dim = 0; dim < shape.rank(); ++dim) {
    const int64_t start = f.extent(2 * dim), step = f.extent(2 * dim + 1);
    // The step of a single row is never taken, and may be huge.
    const int64_t stride = replaced[dim] > 1 ? step * strides[dim] : 0;
    position = position + f.Iota(Dtype::kI64, replaced, dim) * static_cast<double>(stride) +
               static_cast<double>(start * strides[dim]);
  }
  const auto flat = [](Term term) { return Reshape(term, {term.shape().elements()}); };
  const Term result = f.Apply(Op::kScatter, {flat(x), flat(position), flat(update)}, {/*axis=*/0});
  f.Output(Reshape(result, shape));
}

void Rotary(Formula& f) {
  const Term x = Widen(f.input(0));
  const Shape shape = x.shape();
  const int64_t half = shape[3] / 2;
  const Shape half_shape = {shape[0], shape[1], shape[2], half};
  const auto table = [&](size_t i) {
    return Broadcast(Cast(f.input(i), x.dtype()), half_shape, {1, 3});
  };
  const Term cos = table(1);
  const Term sin = f.attribute(0) != 0 ? Apply(Op::kNeg, table(2)) : table(2);
  const Term x1 = SliceAxis(x, 3, 0, half), x2 = SliceAxis(x, 3, half, shape[3]);
  const Term y = f.Apply(Op::kConcat, {x1 * cos - x2 * sin, x2 * cos + x1 * sin}, {/*axis=*/3});
  f.Output(Cast(y, f.input(0).dtype()));
}

void AdamW(Formula& f) {
  const Dtype dtype = f.input(0).dtype();
  const Term p = Widen(f.input(0)), m = Widen(f.input(2)), v = Widen(f.input(3));
  const Term learning_rate = f.input(4), beta1 = f.input(5), beta2 = f.input(6), eps = f.input(7),
             weight_decay = f.input(8), correction1 = f.input(9), correction2 = f.input(10),
             scale = f.input(11);
  const Term g = Cast(f.input(1), p.dtype()) * scale;
  const Term new_m = m * beta1 + g * (1 - beta1);
  const Term new_v = v * beta2 + g * g * (1 - beta2);
  const Term step = (new_m / correction1) / (Apply(Op::kSqrt, new_v / correction2) + eps);
  f.Output(Cast(p - (p * weight_decay + step) * learning_rate, dtype));
  f.Output(Cast(new_m, dtype));
  f.Output(Cast(new_v, dtype));
}

}  // namespace moai::decomposition
