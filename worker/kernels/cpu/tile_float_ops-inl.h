// Pointwise ops on registers of f32 and f64. Part of tile_ops.cc.

// Unusual include guard: the file is compiled once per target.
#if defined(MOAI_WORKER_KERNELS_CPU_TILE_FLOAT_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_TILE_FLOAT_OPS_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_TILE_FLOAT_OPS_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_TILE_FLOAT_OPS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "worker/kernels/cpu/simd_math-inl.h"
#include "worker/kernels/cpu/tile_machine.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// ---- One input ----------------------------------------------------------------------------------

// Whole vectors: what lies past `count` is padding.
template <class T, class Function>
void RunUnary(const TileStep& step, const TileFrame& frame) {
  const hn::ScalableTag<T> d;
  const T* a = step.A<T>(frame);
  T* to = step.Dst<T>(frame);
  for (int64_t i = 0; i < frame.count; i += hn::Lanes(d)) {
    hn::StoreU(Function()(d, hn::LoadU(d, a + i)), d, to + i);
  }
}

// 1 + e^-x, the denominator of the sigmoid. Cheaper than VectorExp: one scaling is enough where
// 2^-127 may count as 0 and 2^128 as infinity. NaN gives something finite.
template <class D, class V>
HWY_INLINE V OnePlusExpOfNegative(D d, V x) {
  if constexpr (kIsF32<D>) {
    const V t = hn::Max(hn::Min(hn::Neg(x), hn::Set(d, 89.0f)), hn::Set(d, -87.0f));
    const V n = hn::Round(hn::Mul(t, hn::Set(d, 1.44269504f)));
    V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), t);
    r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
    V p = hn::Set(d, 0.0013926397603227505f);
    p = hn::MulAdd(p, r, hn::Set(d, 0.008363350379699756f));
    p = hn::MulAdd(p, r, hn::Set(d, 0.041666553328174274f));
    p = hn::MulAdd(p, r, hn::Set(d, 0.16666575957827798f));
    p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
    p = hn::MulAdd(hn::Mul(r, r), p, hn::Add(r, hn::Set(d, 1.0f)));
    return hn::MulAdd(p, PowerOfTwo(d, n), hn::Set(d, 1.0f));
  } else {
    return hn::Add(hn::Set(d, 1.0), VectorExp(d, hn::Neg(x)));
  }
}

#define MOAI_UNARY(Name, expression)            \
  struct Name {                                 \
    template <class D, class V>                 \
    HWY_INLINE V operator()(D d, V x) const {   \
      using T [[maybe_unused]] = hn::TFromD<D>; \
      (void)d;                                  \
      return expression;                        \
    }                                           \
  };

MOAI_UNARY(Negate, hn::Neg(x))
MOAI_UNARY(Absolute, hn::Abs(x))
MOAI_UNARY(Exp, VectorExp(d, x))
MOAI_UNARY(Expm1, VectorExpm1(d, x))
MOAI_UNARY(Log, VectorLog(d, x))
MOAI_UNARY(Log1p, VectorLog1p(d, x))
MOAI_UNARY(SquareRoot, hn::Sqrt(x))
MOAI_UNARY(ReciprocalRoot, hn::Div(hn::Set(d, T{1}), hn::Sqrt(x)))
MOAI_UNARY(Reciprocal, hn::Div(hn::Set(d, T{1}), x))
MOAI_UNARY(Sine, VectorSin(d, x))
MOAI_UNARY(Cosine, VectorCos(d, x))
MOAI_UNARY(Tanh, VectorTanh(d, x))
MOAI_UNARY(Erf, VectorErf(d, x))
MOAI_UNARY(Sigmoid,
           hn::IfThenElse(hn::IsNaN(x), x, hn::Div(hn::Set(d, T{1}), OnePlusExpOfNegative(d, x))))
// NaN passes through the select, as it fails every comparison.
MOAI_UNARY(Relu, hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x))
MOAI_UNARY(Silu, hn::Div(x, OnePlusExpOfNegative(d, x)))
MOAI_UNARY(Gelu, hn::Mul(hn::Mul(hn::Set(d, T(0.5)), x),
                         hn::Add(hn::Set(d, T{1}),
                                 VectorErf(d, hn::Mul(x, hn::Set(d, T(0.70710678118654752)))))))
MOAI_UNARY(Floor, hn::Floor(x))
MOAI_UNARY(Ceiling, hn::Ceil(x))
MOAI_UNARY(Round, hn::Round(x))
MOAI_UNARY(Sign, hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Set(d, T{1}),
                                hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Set(d, T{-1}), x)))
#undef MOAI_UNARY

// ---- Two inputs ---------------------------------------------------------------------------------

// A scalar input is read once.
template <class T, class Function, TileScalars kScalars>
void RunBinary(const TileStep& step, const TileFrame& frame) {
  const hn::ScalableTag<T> d;
  const T* a = step.A<T>(frame);
  const T* b = step.B<T>(frame);
  T* to = step.Dst<T>(frame);
  const auto a0 = hn::Set(d, a[0]);
  const auto b0 = hn::Set(d, b[0]);
  for (int64_t i = 0; i < frame.count; i += hn::Lanes(d)) {
    const auto x = kScalars == TileScalars::kA ? a0 : hn::LoadU(d, a + i);
    const auto y = kScalars == TileScalars::kB ? b0 : hn::LoadU(d, b + i);
    hn::StoreU(Function()(d, x, y), d, to + i);
  }
}

// Python's %: the sign of the divisor.
template <class T>
T FloatModulo(T x, T y) {
  const T remainder = std::fmod(x, y);
  return remainder != 0 && (remainder < 0) != (y < 0) ? remainder + y : remainder;
}

template <class D, class V, class F>
HWY_INLINE V MapTwo(D d, V x, V y, F function) {
  HWY_ALIGN hn::TFromD<D> a[hn::MaxLanes(d)], b[hn::MaxLanes(d)];
  hn::Store(x, d, a);
  hn::Store(y, d, b);
  for (size_t i = 0; i < hn::Lanes(d); ++i) a[i] = function(a[i], b[i]);
  return hn::Load(d, a);
}

#define MOAI_BINARY(Name, expression)              \
  struct Name {                                    \
    template <class D, class V>                    \
    HWY_INLINE V operator()(D d, V x, V y) const { \
      using T [[maybe_unused]] = hn::TFromD<D>;    \
      (void)d;                                     \
      return expression;                           \
    }                                              \
  };

MOAI_BINARY(Add, hn::Add(x, y))
MOAI_BINARY(Subtract, hn::Sub(x, y))
MOAI_BINARY(Multiply, hn::Mul(x, y))
MOAI_BINARY(Divide, hn::Div(x, y))
MOAI_BINARY(Modulo, MapTwo(d, x, y, [](T a, T b) { return FloatModulo(a, b); }))
MOAI_BINARY(Power, MapTwo(d, x, y, [](T a, T b) { return std::pow(a, b); }))
// NaN wins, whichever side it is on.
MOAI_BINARY(Maximum, hn::IfThenElse(hn::Or(hn::IsNaN(x), hn::Gt(x, y)), x, y))
MOAI_BINARY(Minimum, hn::IfThenElse(hn::Or(hn::IsNaN(x), hn::Lt(x, y)), x, y))
#undef MOAI_BINARY

// ---- Comparisons: integers from floats ----------------------------------------------------------

template <class T, class Function>
void RunCompare(const TileStep& step, const TileFrame& frame) {
  const T* HWY_RESTRICT a = step.A<T>(frame);
  const T* HWY_RESTRICT b = step.B<T>(frame);
  int64_t* HWY_RESTRICT to = step.Dst<int64_t>(frame);
  for (int64_t i = 0; i < frame.count; ++i) to[i] = Function()(a[i], b[i]);
}

struct Equal {
  template <class T>
  bool operator()(T a, T b) const {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  bool operator()(T a, T b) const {
    return a != b;
  }
};
struct Less {
  template <class T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqual {
  template <class T>
  bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct Greater {
  template <class T>
  bool operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterOrEqual {
  template <class T>
  bool operator()(T a, T b) const {
    return a >= b;
  }
};

template <class T>
void RunIsNan(const TileStep& step, const TileFrame& frame) {
  const T* a = step.A<T>(frame);
  int64_t* to = step.Dst<int64_t>(frame);
  for (int64_t i = 0; i < frame.count; ++i) to[i] = a[i] != a[i];
}

template <class T>
void RunIsFinite(const TileStep& step, const TileFrame& frame) {
  const T* a = step.A<T>(frame);
  int64_t* to = step.Dst<int64_t>(frame);
  for (int64_t i = 0; i < frame.count; ++i) to[i] = a[i] - a[i] == 0;
}

// ---- Three inputs -------------------------------------------------------------------------------

template <class T>
void RunSelect(const TileStep& step, const TileFrame& frame) {
  const int64_t* HWY_RESTRICT condition = step.A<int64_t>(frame);
  const T* HWY_RESTRICT b = step.B<T>(frame);
  const T* HWY_RESTRICT c = step.C<T>(frame);
  T* HWY_RESTRICT to = step.Dst<T>(frame);
  for (int64_t i = 0; i < frame.count; ++i) to[i] = condition[i] != 0 ? b[i] : c[i];
}

template <class T>
void RunClamp(const TileStep& step, const TileFrame& frame) {
  const hn::ScalableTag<T> d;
  const T* a = step.A<T>(frame);
  const T* low = step.B<T>(frame);
  const T* high = step.C<T>(frame);
  T* to = step.Dst<T>(frame);
  for (int64_t i = 0; i < frame.count; i += hn::Lanes(d)) {
    const auto raised = Maximum()(d, hn::LoadU(d, a + i), hn::LoadU(d, low + i));
    hn::StoreU(Minimum()(d, raised, hn::LoadU(d, high + i)), d, to + i);
  }
}

template <class T, TileScalars kScalars>
void RunMultiplyAdd(const TileStep& step, const TileFrame& frame) {
  const hn::ScalableTag<T> d;
  const T* a = step.A<T>(frame);
  const T* b = step.B<T>(frame);
  const T* c = step.C<T>(frame);
  T* to = step.Dst<T>(frame);
  const auto b0 = hn::Set(d, b[0]);
  for (int64_t i = 0; i < frame.count; i += hn::Lanes(d)) {
    const auto y = kScalars == TileScalars::kB ? b0 : hn::LoadU(d, b + i);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, a + i), y, hn::LoadU(d, c + i)), d, to + i);
  }
}

template <class T>
TileFunction FindMultiplyAdd(TileScalars scalars) {
  return scalars == TileScalars::kB ? &RunMultiplyAdd<T, TileScalars::kB>
                                    : &RunMultiplyAdd<T, TileScalars::kNone>;
}

// ---- Reductions ---------------------------------------------------------------------------------

template <class T>
void AccumulateSum(void* accumulator, const void* values, int64_t count) {
  T* HWY_RESTRICT to = static_cast<T*>(accumulator);
  const T* HWY_RESTRICT from = static_cast<const T*>(values);
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}
template <>
inline void AccumulateSum<int64_t>(void* accumulator, const void* values, int64_t count) {
  // Wraps.
  uint64_t* HWY_RESTRICT to = static_cast<uint64_t*>(accumulator);
  const uint64_t* HWY_RESTRICT from = static_cast<const uint64_t*>(values);
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}
template <class T>
void AccumulateProduct(void* accumulator, const void* values, int64_t count) {
  using Wrapping = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
  Wrapping* HWY_RESTRICT to = static_cast<Wrapping*>(accumulator);
  const Wrapping* HWY_RESTRICT from = static_cast<const Wrapping*>(values);
  for (int64_t i = 0; i < count; ++i) to[i] *= from[i];
}
template <class T>
void AccumulateMaximum(void* accumulator, const void* values, int64_t count) {
  T* HWY_RESTRICT to = static_cast<T*>(accumulator);
  const T* HWY_RESTRICT from = static_cast<const T*>(values);
  for (int64_t i = 0; i < count; ++i) {
    to[i] = ((from[i] > to[i]) | (from[i] != from[i])) ? from[i] : to[i];
  }
}
template <class T>
void AccumulateMinimum(void* accumulator, const void* values, int64_t count) {
  T* HWY_RESTRICT to = static_cast<T*>(accumulator);
  const T* HWY_RESTRICT from = static_cast<const T*>(values);
  for (int64_t i = 0; i < count; ++i) {
    to[i] = ((from[i] < to[i]) | (from[i] != from[i])) ? from[i] : to[i];
  }
}
template <class T>
void AccumulateAnd(void* accumulator, const void* values, int64_t count) {
  T* to = static_cast<T*>(accumulator);
  const T* from = static_cast<const T*>(values);
  for (int64_t i = 0; i < count; ++i) to[i] = to[i] != 0 && from[i] != 0;
}
template <class T>
void AccumulateOr(void* accumulator, const void* values, int64_t count) {
  T* to = static_cast<T*>(accumulator);
  const T* from = static_cast<const T*>(values);
  for (int64_t i = 0; i < count; ++i) to[i] = to[i] != 0 || from[i] != 0;
}

// Folds `count` values into kRowLanes accumulators: a tile first among itself, so that no number is
// added to many others one by one, then once to what came before.
template <class T, AccumulateFunction kAccumulate>
void AccumulateRow(void* accumulator, const void* values, int64_t count) {
  const T* from = static_cast<const T*>(values);
  if (count < 2 * kRowLanes) {
    for (int64_t i = 0; i < count; i += kRowLanes) {
      kAccumulate(accumulator, from + i, std::min<int64_t>(kRowLanes, count - i));
    }
    return;
  }
  alignas(64) T lanes[kRowLanes];
  std::copy_n(from, kRowLanes, lanes);
  int64_t i = kRowLanes;
  for (; i + kRowLanes <= count; i += kRowLanes) kAccumulate(lanes, from + i, kRowLanes);
  if (i < count) kAccumulate(lanes, from + i, count - i);
  kAccumulate(accumulator, lanes, kRowLanes);
}

// The same for sums of floats, with the lanes in registers.
template <class T>
void AccumulateRowSum(void* accumulator, const void* values, int64_t count) {
  const hn::ScalableTag<T> d;
  const int64_t step = hn::Lanes(d), block = 4 * step;
  const T* from = static_cast<const T*>(values);
  if (count < block || kRowLanes % block != 0) {
    return AccumulateRow<T, &AccumulateSum<T>>(accumulator, values, count);
  }
  auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + step), c = hn::LoadU(d, from + 2 * step),
       e = hn::LoadU(d, from + 3 * step);
  int64_t i = block;
  for (; i + block <= count; i += block) {
    a = hn::Add(a, hn::LoadU(d, from + i));
    b = hn::Add(b, hn::LoadU(d, from + i + step));
    c = hn::Add(c, hn::LoadU(d, from + i + 2 * step));
    e = hn::Add(e, hn::LoadU(d, from + i + 3 * step));
  }
  T* to = static_cast<T*>(accumulator);
  hn::StoreU(hn::Add(hn::LoadU(d, to), a), d, to);
  hn::StoreU(hn::Add(hn::LoadU(d, to + step), b), d, to + step);
  hn::StoreU(hn::Add(hn::LoadU(d, to + 2 * step), c), d, to + 2 * step);
  hn::StoreU(hn::Add(hn::LoadU(d, to + 3 * step), e), d, to + 3 * step);
  if (i < count) AccumulateRow<T, &AccumulateSum<T>>(accumulator, from + i, count - i);
}

template <class T>
AccumulateFunction FindAccumulateRowFor(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kSum:
      if constexpr (std::is_floating_point_v<T>) return &AccumulateRowSum<T>;
      return &AccumulateRow<T, &AccumulateSum<T>>;
    case ReduceKind::kMax:
      return &AccumulateRow<T, &AccumulateMaximum<T>>;
    case ReduceKind::kMin:
      return &AccumulateRow<T, &AccumulateMinimum<T>>;
    case ReduceKind::kProd:
      return &AccumulateRow<T, &AccumulateProduct<T>>;
    case ReduceKind::kAnd:
      return &AccumulateRow<T, &AccumulateAnd<T>>;
    case ReduceKind::kOr:
      return &AccumulateRow<T, &AccumulateOr<T>>;
    case ReduceKind::kNone:
      break;
  }
  return nullptr;
}

template <class T>
AccumulateFunction FindAccumulateFor(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kSum:
      return &AccumulateSum<T>;
    case ReduceKind::kMax:
      return &AccumulateMaximum<T>;
    case ReduceKind::kMin:
      return &AccumulateMinimum<T>;
    case ReduceKind::kProd:
      return &AccumulateProduct<T>;
    case ReduceKind::kAnd:
      return &AccumulateAnd<T>;
    case ReduceKind::kOr:
      return &AccumulateOr<T>;
    case ReduceKind::kNone:
      break;
  }
  return nullptr;
}

// ---- The table ----------------------------------------------------------------------------------

template <class T, class Function>
TileFunction Binary(TileScalars scalars) {
  switch (scalars) {
    case TileScalars::kA:
      return &RunBinary<T, Function, TileScalars::kA>;
    case TileScalars::kB:
      return &RunBinary<T, Function, TileScalars::kB>;
    case TileScalars::kNone:
      break;
  }
  return &RunBinary<T, Function, TileScalars::kNone>;
}

template <class T>
TileFunction FindFloatFunction(Op op, TileScalars scalars) {
  switch (op) {
    case Op::kNeg:
      return &RunUnary<T, Negate>;
    case Op::kAbs:
      return &RunUnary<T, Absolute>;
    case Op::kSign:
      return &RunUnary<T, Sign>;
    case Op::kExp:
      return &RunUnary<T, Exp>;
    case Op::kExpm1:
      return &RunUnary<T, Expm1>;
    case Op::kLog:
      return &RunUnary<T, Log>;
    case Op::kLog1p:
      return &RunUnary<T, Log1p>;
    case Op::kSqrt:
      return &RunUnary<T, SquareRoot>;
    case Op::kRsqrt:
      return &RunUnary<T, ReciprocalRoot>;
    case Op::kReciprocal:
      return &RunUnary<T, Reciprocal>;
    case Op::kSin:
      return &RunUnary<T, Sine>;
    case Op::kCos:
      return &RunUnary<T, Cosine>;
    case Op::kTanh:
      return &RunUnary<T, Tanh>;
    case Op::kErf:
      return &RunUnary<T, Erf>;
    case Op::kSigmoid:
      return &RunUnary<T, Sigmoid>;
    case Op::kRelu:
      return &RunUnary<T, Relu>;
    case Op::kSilu:
      return &RunUnary<T, Silu>;
    case Op::kGelu:
      return &RunUnary<T, Gelu>;
    case Op::kFloor:
      return &RunUnary<T, Floor>;
    case Op::kCeil:
      return &RunUnary<T, Ceiling>;
    case Op::kRound:
      return &RunUnary<T, Round>;
    case Op::kIsNan:
      return &RunIsNan<T>;
    case Op::kIsFinite:
      return &RunIsFinite<T>;
    case Op::kAdd:
      return Binary<T, Add>(scalars);
    case Op::kSub:
      return Binary<T, Subtract>(scalars);
    case Op::kMul:
      return Binary<T, Multiply>(scalars);
    case Op::kDiv:
      return Binary<T, Divide>(scalars);
    case Op::kMod:
      return &RunBinary<T, Modulo, TileScalars::kNone>;
    case Op::kPow:
      return &RunBinary<T, Power, TileScalars::kNone>;
    case Op::kMaximum:
      return Binary<T, Maximum>(scalars);
    case Op::kMinimum:
      return Binary<T, Minimum>(scalars);
    case Op::kEq:
      return &RunCompare<T, Equal>;
    case Op::kNe:
      return &RunCompare<T, NotEqual>;
    case Op::kLt:
      return &RunCompare<T, Less>;
    case Op::kLe:
      return &RunCompare<T, LessOrEqual>;
    case Op::kGt:
      return &RunCompare<T, Greater>;
    case Op::kGe:
      return &RunCompare<T, GreaterOrEqual>;
    case Op::kSelect:
      return &RunSelect<T>;
    case Op::kClamp:
      return &RunClamp<T>;
    default:
      return nullptr;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_TILE_FLOAT_OPS_INL_H_
