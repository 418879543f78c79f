// Pointwise ops.
#include <cmath>
#include <utility>

#include "client/tensor/ops.h"
#include "client/tensor/promote.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

bool IsFloatOnly(Op op) { return Entry(op).dtype_rule == DtypeRule::kSameFloat; }

// Ops of floats take integers as f32.
Tensor Unary(Op op, const Tensor& x) {
  if (!IsFloat(x.dtype()) && IsFloatOnly(op)) return RecordOp1(op, {x.To(Dtype::kF32)});
  return RecordOp1(op, {x});
}

// The operand in the common dtype and shape. Rank 0 operands broadcast without a node.
Tensor Fit(const Tensor& x, Dtype dtype, const Shape& shape) {
  const Tensor cast = x.To(dtype);
  return cast.rank() == 0 ? cast : cast.Expand(shape);
}

Tensor Binary(Op op, const Tensor& a, const Tensor& b, Location location) {
  const bool same = a.type() == b.type() && (IsFloat(a.dtype()) || !IsFloatOnly(op));
  if (same || !a.ok() || !b.ok()) return RecordOp1(op, {a, b}, location);
  const std::optional<Shape> shape = BroadcastShapes(a.shape(), b.shape());
  if (!shape.has_value()) {
    return InvalidAt(location, Name(op), ": ", ToString(a.type()), " and ", ToString(b.type()),
                     " do not broadcast to one shape");
  }
  Dtype dtype = PromoteTypes(a.type(), b.type());
  if (!IsFloat(dtype) && IsFloatOnly(op)) dtype = Dtype::kF32;
  return RecordOp1(op, {Fit(a, dtype, *shape), Fit(b, dtype, *shape)}, location);
}

Tensor WithNumber(Op op, const Tensor& a, double b) {
  const bool fits = IsFloat(a.dtype()) || (!IsFloatOnly(op) && b == std::floor(b));
  if (!a.ok() || fits) return RecordOp1(op, {a, Operand(a.dtype(), b)});
  return RecordOp1(op, {a.To(Dtype::kF32), Operand(Dtype::kF32, b)});
}

// Division of integers gives a fraction, as in Python.
Tensor Dividend(const Tensor& a) { return IsFloat(a.dtype()) ? a : a.To(Dtype::kF32); }

}  // namespace

#define MOAI_UNARY(Function) \
  Tensor Function(const Tensor& x) { return Unary(Op::k##Function, x); }
MOAI_UNARY(Neg)
MOAI_UNARY(Abs)
MOAI_UNARY(Sign)
MOAI_UNARY(Exp)
MOAI_UNARY(Expm1)
MOAI_UNARY(Log)
MOAI_UNARY(Log1p)
MOAI_UNARY(Sqrt)
MOAI_UNARY(Rsqrt)
MOAI_UNARY(Reciprocal)
MOAI_UNARY(Sin)
MOAI_UNARY(Cos)
MOAI_UNARY(Tanh)
MOAI_UNARY(Erf)
MOAI_UNARY(Sigmoid)
MOAI_UNARY(Relu)
MOAI_UNARY(Silu)
MOAI_UNARY(Gelu)
MOAI_UNARY(Floor)
MOAI_UNARY(Ceil)
MOAI_UNARY(Round)
MOAI_UNARY(IsNan)
MOAI_UNARY(IsFinite)
MOAI_UNARY(Not)
#undef MOAI_UNARY

#define MOAI_BINARY(Function)                                            \
  Tensor Function(const Tensor& a, const Tensor& b, Location location) { \
    return Binary(Op::k##Function, a, b, location);                      \
  }
MOAI_BINARY(Add)
MOAI_BINARY(Sub)
MOAI_BINARY(Mul)
MOAI_BINARY(Mod)
MOAI_BINARY(Pow)
MOAI_BINARY(Maximum)
MOAI_BINARY(Minimum)
MOAI_BINARY(Eq)
MOAI_BINARY(Ne)
MOAI_BINARY(Lt)
MOAI_BINARY(Le)
MOAI_BINARY(Gt)
MOAI_BINARY(Ge)
MOAI_BINARY(And)
MOAI_BINARY(Or)
MOAI_BINARY(Xor)
#undef MOAI_BINARY

Tensor Div(const Tensor& a, const Tensor& b, Location location) {
  if (!a.ok() || !b.ok() || IsFloat(PromoteTypes(a.type(), b.type()))) {
    return Binary(Op::kDiv, a, b, location);
  }
  return Binary(Op::kDiv, a.To(Dtype::kF32), b.To(Dtype::kF32), location);
}

#define MOAI_WITH_NUMBER(Function) \
  Tensor Function(const Tensor& a, double b) { return WithNumber(Op::k##Function, a, b); }
MOAI_WITH_NUMBER(Add)
MOAI_WITH_NUMBER(Sub)
MOAI_WITH_NUMBER(Mul)
MOAI_WITH_NUMBER(Mod)
MOAI_WITH_NUMBER(Pow)
MOAI_WITH_NUMBER(Maximum)
MOAI_WITH_NUMBER(Minimum)
MOAI_WITH_NUMBER(Eq)
MOAI_WITH_NUMBER(Ne)
MOAI_WITH_NUMBER(Lt)
MOAI_WITH_NUMBER(Le)
MOAI_WITH_NUMBER(Gt)
MOAI_WITH_NUMBER(Ge)
#undef MOAI_WITH_NUMBER

Tensor Sub(double a, const Tensor& b) { return RecordOp1(Op::kSub, {Operand(b.dtype(), a), b}); }
Tensor Div(const Tensor& a, double b) { return WithNumber(Op::kDiv, Dividend(a), b); }
Tensor Div(double a, const Tensor& b) {
  const Tensor divisor = Dividend(b);
  return RecordOp1(Op::kDiv, {Operand(divisor.dtype(), a), divisor});
}

Tensor Where(const Tensor& condition, const Tensor& a, const Tensor& b, Location location) {
  if (!condition.ok() || !a.ok() || !b.ok()) {
    return RecordOp1(Op::kSelect, {condition, a, b}, location);
  }
  std::optional<Shape> shape = BroadcastShapes(a.shape(), b.shape());
  if (shape.has_value()) shape = BroadcastShapes(*shape, condition.shape());
  if (!shape.has_value()) {
    return InvalidAt(location, "where: ", ToString(condition.type()), ", ", ToString(a.type()),
                     " and ", ToString(b.type()), " do not broadcast to one shape");
  }
  const Dtype dtype = PromoteTypes(a.type(), b.type());
  return RecordOp1(
      Op::kSelect,
      {Fit(condition, Dtype::kBool, *shape), Fit(a, dtype, *shape), Fit(b, dtype, *shape)},
      location);
}

Tensor Clamp(const Tensor& x, double low, double high) {
  return RecordOp1(Op::kClamp, {x, Operand(x.dtype(), low), Operand(x.dtype(), high)});
}

}  // namespace moai
