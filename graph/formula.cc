#include "graph/formula.h"

#include <utility>

#include "graph/infer_kinds.h"

namespace moai::decomposition {
namespace {

// Row-major dims of `shape` that are not in `axes`.
absl::InlinedVector<int32_t, kMaxRank> Others(const Shape& shape, absl::Span<const int32_t> axes) {
  uint32_t named = 0;
  for (int32_t axis : axes) named |= 1u << axis;
  absl::InlinedVector<int32_t, kMaxRank> others;
  for (int32_t dim = 0; dim < shape.rank(); ++dim) {
    if ((named >> dim & 1) == 0) others.push_back(dim);
  }
  return others;
}

}  // namespace

Shape Term::shape() const { return formula->type(value).shape; }
Dtype Term::dtype() const { return formula->type(value).dtype; }

Term Formula::Constant(double number, Dtype dtype) {
  for (size_t i = 0; i < constants_.size(); ++i) {
    if (constants_[i].dtype == dtype && constants_[i].number == number) {
      return {this, decomposition_.constants[i].value};
    }
  }
  const ValueId value = builder_.AddScalar(dtype);
  constants_.push_back({dtype, number});
  decomposition_.constants.push_back({value, number});
  return {this, value};
}

Term Formula::Iota(Dtype dtype, const Shape& shape, int axis) {
  return Apply(Op::kIota, {}, {static_cast<int32_t>(dtype), axis, shape.rank()}, shape.span());
}

Term Formula::Apply(Op op, std::initializer_list<Term> inputs, absl::Span<const int32_t> attributes,
                    absl::Span<const int64_t> extents) {
  if (!status_.ok()) return input(0);
  absl::InlinedVector<ValueId, 4> values;
  for (const Term& term : inputs) values.push_back(term.value);
  const absl::StatusOr<ValueId> output = builder_.AddNode(op, values, attributes, extents);
  if (!output.ok()) {
    status_ = output.status();
    return input(0);
  }
  return {this, *output};
}

absl::StatusOr<Decomposition> Formula::Finish() {
  if (!status_.ok()) return status_;
  return std::move(decomposition_);
}

Term operator+(Term a, Term b) { return a.formula->Apply(Op::kAdd, {a, b}); }
Term operator-(Term a, Term b) { return a.formula->Apply(Op::kSub, {a, b}); }
Term operator*(Term a, Term b) { return a.formula->Apply(Op::kMul, {a, b}); }
Term operator/(Term a, Term b) { return a.formula->Apply(Op::kDiv, {a, b}); }
Term operator+(Term a, double b) { return a + a.formula->Constant(b, a.dtype()); }
Term operator*(Term a, double b) { return a * a.formula->Constant(b, a.dtype()); }
Term operator-(double a, Term b) { return b.formula->Constant(a, b.dtype()) - b; }

Term Apply(Op op, Term x) { return x.formula->Apply(op, {x}); }
Term Compare(Op op, Term a, Term b) { return a.formula->Apply(op, {a, b}); }
Term Compare(Op op, Term a, double b) { return Compare(op, a, a.formula->Constant(b, a.dtype())); }
Term Select(Term condition, Term a, Term b) {
  return condition.formula->Apply(Op::kSelect, {condition, a, b});
}
Term Select(Term condition, double a, Term b) {
  return Select(condition, b.formula->Constant(a, b.dtype()), b);
}

Term Cast(Term x, Dtype dtype) {
  if (x.dtype() == dtype) return x;
  return x.formula->Apply(Op::kCast, {x}, {static_cast<int32_t>(dtype)});
}

Term Widen(Term x) { return Cast(x, StatisticDtype(x.dtype())); }

Term Reshape(Term x, const Shape& shape) {
  return x.formula->Apply(Op::kReshape, {x}, {shape.rank()}, shape.span());
}

Term Transpose(Term x, std::initializer_list<int32_t> permutation) {
  return x.formula->Apply(Op::kTranspose, {x}, permutation);
}

Term Broadcast(Term x, const Shape& shape, absl::Span<const int32_t> axes) {
  absl::InlinedVector<int32_t, kMaxRank + 1> attributes = {shape.rank()};
  attributes.insert(attributes.end(), axes.begin(), axes.end());
  return x.formula->Apply(Op::kBroadcast, {x}, attributes, shape.span());
}

Term SliceAxis(Term x, int axis, int64_t start, int64_t limit) {
  absl::InlinedVector<int64_t, 3 * kMaxRank> extents;
  for (int dim = 0; dim < x.shape().rank(); ++dim) {
    extents.push_back(dim == axis ? start : 0);
    extents.push_back(dim == axis ? limit : x.shape()[dim]);
    extents.push_back(1);
  }
  return x.formula->Apply(Op::kSlice, {x}, {}, extents);
}

Term Reduce(Op op, Term x, absl::Span<const int32_t> axes) {
  return x.formula->Apply(op, {x}, axes);
}

Term Unreduce(Term x, const Shape& shape, absl::Span<const int32_t> axes) {
  return Broadcast(x, shape, Others(shape, axes));
}

Term Matmul(Term a, Term b, bool transpose_a, bool transpose_b) {
  return a.formula->Apply(Op::kMatmul, {a, b}, {transpose_a ? 1 : 0, transpose_b ? 1 : 0});
}

}  // namespace moai::decomposition
