// Vector functions that kernels share: elementary functions, loads and stores of every float dtype.
//
// Include after hwy/foreach_target.h and hwy/highway.h, inside no namespace; use within
// moai::HWY_NAMESPACE. Compiled once per instruction set.
//
// Contract: `V` is a vector of float or double. f32 results are within 4 ulp (measured over random
// inputs by simd_math_test), f64 results come from the C library, lane by lane. Special values (0,
// infinities, NaN, denormals) give what the C library gives.

// Unusual include guard: the file is compiled once per target.
#if defined(MOAI_WORKER_KERNELS_CPU_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_SIMD_MATH_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_SIMD_MATH_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_SIMD_MATH_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/float_types.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A vector register of floats, the workhorse of most kernels.
using FloatTag = hn::ScalableTag<float>;
using DoubleTag = hn::ScalableTag<double>;

// Applies a scalar function to each lane.
template <class D, class V, class F>
HWY_INLINE V MapLanes(D d, V v, F function) {
  using T = hn::TFromD<D>;
  HWY_ALIGN T lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = function(lanes[i]);
  return hn::Load(d, lanes);
}

template <class D>
inline constexpr bool kIsF32 = std::is_same_v<hn::TFromD<D>, float>;

// ---- Elementary functions
// -------------------------------------------------------------------------

// 2^n for whole n in [-127, 128], given as floats; -127 gives 0, 128 gives infinity.
template <class D, class V>
HWY_INLINE V PowerOfTwo(D d, V n) {
  const hn::RebindToSigned<D> di;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::NearestInt(n), hn::Set(di, 127))));
}

// e^x for x <= 0 (e^0 is 1 exactly) down to where the result leaves the normal numbers (then 0);
// NaN stays NaN. The cheaper form that softmax and attention use, where the maximum was subtracted.
template <class D, class V>
HWY_INLINE V VectorExpNonPositive(D d, V x) {
  if constexpr (kIsF32<D>) {
    const hn::RebindToUnsigned<D> d32;
    // Adding 1.5 * 2^23 rounds x / log(2) to a whole n and leaves n in the low bits; the 127 more
    // is the bias of an exponent, so that a shift turns the bits into 2^n.
    const V magic = hn::Set(d, 12582912.0f + 127.0f);
    const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), magic);
    const V n = hn::Sub(shifted, magic);
    // Cody and Waite reduction to |r| <= log(2) / 2, then 1 + r q(r), interpolated at Chebyshev
    // points.
    V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
    r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
    V q = hn::Set(d, 0.008363350379699756f);
    q = hn::MulAdd(q, r, hn::Set(d, 0.04187688677498329f));
    q = hn::MulAdd(q, r, hn::Set(d, 0.16666575957827798f));
    q = hn::MulAdd(q, r, hn::Set(d, 0.499993646575359f));
    q = hn::MulAdd(q, r, hn::Set(d, 1.0f));
    q = hn::MulAdd(q, r, hn::Set(d, 1.0f));
    const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(d32, shifted)));
    return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3365f)), hn::Mul(q, power));
  } else {
    return MapLanes(d, x, [](double lane) { return std::exp(lane); });
  }
}

template <class D, class V>
HWY_INLINE V VectorExp(D d, V x) {
  if constexpr (kIsF32<D>) {
    const V clamped = hn::Max(hn::Min(x, hn::Set(d, 89.0f)), hn::Set(d, -104.0f));
    const V n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
    V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
    r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
    V p = hn::Set(d, 0.0013926397603227505f);
    p = hn::MulAdd(p, r, hn::Set(d, 0.008363350379699756f));
    p = hn::MulAdd(p, r, hn::Set(d, 0.041666553328174274f));
    p = hn::MulAdd(p, r, hn::Set(d, 0.16666575957827798f));
    p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
    p = hn::MulAdd(hn::Mul(r, r), p, hn::Add(r, hn::Set(d, 1.0f)));
    // Two factors, so that results beyond the normal numbers round once.
    const V half = hn::Floor(hn::Mul(n, hn::Set(d, 0.5f)));
    const V scaled = hn::Mul(hn::Mul(p, PowerOfTwo(d, half)), PowerOfTwo(d, hn::Sub(n, half)));
    return hn::IfThenElse(hn::IsNaN(x), x, scaled);
  } else {
    return MapLanes(d, x, [](double lane) { return std::exp(lane); });
  }
}

template <class D, class V>
HWY_INLINE V VectorExpm1(D d, V x) {
  if constexpr (kIsF32<D>) {
    // Near 0 the series keeps what the subtraction would cancel.
    const V square = hn::Mul(x, x);
    V p = hn::Set(d, 1.0f / 40320);
    p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 5040));
    p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 720));
    p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 120));
    p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 24));
    p = hn::MulAdd(p, x, hn::Set(d, 1.0f / 6));
    p = hn::MulAdd(p, x, hn::Set(d, 0.5f));
    const V near = hn::MulAdd(square, p, x);
    const V far = hn::Sub(VectorExp(d, x), hn::Set(d, 1.0f));
    return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.5f)), near, far);
  } else {
    return MapLanes(d, x, [](double lane) { return std::expm1(lane); });
  }
}

template <class D, class V>
HWY_INLINE V VectorLog(D d, V x) {
  if constexpr (kIsF32<D>) {
    const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
    V result = hn::Log(d, x);
    result = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), result);
    result = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::NaN(d), result);
    result = hn::IfThenElse(hn::Or(hn::Eq(x, infinity), hn::IsNaN(x)), x, result);
    return result;
  } else {
    return MapLanes(d, x, [](double lane) { return std::log(lane); });
  }
}

template <class D, class V>
HWY_INLINE V VectorLog1p(D d, V x) {
  if constexpr (kIsF32<D>) {
    // log(1 + x) with the rounding error of the sum put back (Kahan).
    const V one = hn::Set(d, 1.0f);
    const V sum = hn::Add(one, x);
    const V difference = hn::Sub(sum, one);
    const V corrected = hn::Mul(VectorLog(d, sum), hn::Div(x, difference));
    const auto tiny = hn::Eq(sum, one);
    const auto exact = hn::Or(hn::Eq(sum, hn::Zero(d)),
                              hn::Eq(x, hn::Set(d, std::numeric_limits<float>::infinity())));
    return hn::IfThenElse(tiny, x, hn::IfThenElse(exact, VectorLog(d, sum), corrected));
  } else {
    return MapLanes(d, x, [](double lane) { return std::log1p(lane); });
  }
}

template <class D, class V>
HWY_INLINE V VectorTanh(D d, V x) {
  if constexpr (kIsF32<D>) {
    // -expm1(-2|x|) / (2 + expm1(-2|x|)): no cancellation, no overflow.
    const V e = VectorExpm1(d, hn::Mul(hn::Abs(x), hn::Set(d, -2.0f)));
    return hn::CopySign(hn::Div(hn::Neg(e), hn::Add(e, hn::Set(d, 2.0f))), x);
  } else {
    return MapLanes(d, x, [](double lane) { return std::tanh(lane); });
  }
}

template <class D, class V>
HWY_INLINE V VectorSigmoid(D d, V x) {
  const V one = hn::Set(d, hn::TFromD<D>{1});
  return hn::Div(one, hn::Add(one, VectorExp(d, hn::Neg(x))));
}

template <class D, class V>
HWY_INLINE V VectorErf(D d, V x) {
  if constexpr (kIsF32<D>) {
    const V t = hn::Min(hn::Abs(x), hn::Set(d, 4.0f));
    // |x| < 1: x + x q(x^2), interpolated at Chebyshev points.
    const V square = hn::Mul(t, t);
    V q = hn::Set(d, 7.875875062685488e-05f);
    q = hn::MulAdd(q, square, hn::Set(d, -0.000801686428716587f));
    q = hn::MulAdd(q, square, hn::Set(d, 0.005189087423433974f));
    q = hn::MulAdd(q, square, hn::Set(d, -0.026854212010626412f));
    q = hn::MulAdd(q, square, hn::Set(d, 0.11283594715160218f));
    q = hn::MulAdd(q, square, hn::Set(d, -0.37612626666720334f));
    q = hn::MulAdd(q, square, hn::Set(d, 0.12837916584835093f));
    const V near = hn::MulAdd(q, x, x);
    // Otherwise 1 - exp(-g(|x|)) with g = -log(erfc), interpolated over [0.98, 4].
    V g = hn::Set(d, -1.639938016480626e-06f);
    g = hn::MulAdd(g, t, hn::Set(d, 4.611291390623816e-05f));
    g = hn::MulAdd(g, t, hn::Set(d, -0.0005972644331422529f));
    g = hn::MulAdd(g, t, hn::Set(d, 0.004761717235814106f));
    g = hn::MulAdd(g, t, hn::Set(d, -0.02642704377214418f));
    g = hn::MulAdd(g, t, hn::Set(d, 0.11009019746356287f));
    g = hn::MulAdd(g, t, hn::Set(d, 0.6318156995820089f));
    g = hn::MulAdd(g, t, hn::Set(d, 1.1302392014174953f));
    g = hn::MulAdd(g, t, hn::Set(d, -0.0003214710263795883f));
    const V far = hn::CopySign(hn::Sub(hn::Set(d, 1.0f), VectorExpNonPositive(d, hn::Neg(g))), x);
    const V result = hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 1.0f)), near, far);
    return hn::IfThenElse(hn::IsNaN(x), x, result);
  } else {
    return MapLanes(d, x, [](double lane) { return std::erf(lane); });
  }
}

// Largest magnitude for which the vector forms of sine and cosine reduce their argument well.
inline constexpr float kVectorTrigonometryLimit = 8192.0f;

template <class D, class V>
HWY_INLINE V VectorSin(D d, V x) {
  if constexpr (kIsF32<D>) {
    if (hn::AllTrue(d, hn::Lt(hn::Abs(x), hn::Set(d, kVectorTrigonometryLimit)))) {
      return hn::Sin(d, x);
    }
  }
  return MapLanes(d, x, [](auto lane) { return std::sin(lane); });
}

template <class D, class V>
HWY_INLINE V VectorCos(D d, V x) {
  if constexpr (kIsF32<D>) {
    if (hn::AllTrue(d, hn::Lt(hn::Abs(x), hn::Set(d, kVectorTrigonometryLimit)))) {
      return hn::Cos(d, x);
    }
  }
  return MapLanes(d, x, [](auto lane) { return std::cos(lane); });
}

// ---- Loads and stores: any float dtype in memory, float or double in registers
// --------------------

template <class D>
requires kIsF32<D> HWY_INLINE hn::Vec<D> LoadAs(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
requires(!kIsF32<D>) HWY_INLINE hn::Vec<D> LoadAs(D d, const double* from) {
  return hn::LoadU(d, from);
}
template <class D>
requires kIsF32<D> HWY_INLINE hn::Vec<D> LoadAs(D d, const BFloat16* from) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}
template <class D>
requires kIsF32<D> HWY_INLINE hn::Vec<D> LoadAs([[maybe_unused]] D d, const Float16* from) {
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
}
// Mixed precision: f32 operands of an f64 kernel and the like do not occur; f64 statistics do.
template <class D>
requires(!kIsF32<D>) HWY_INLINE hn::Vec<D> LoadAs(D d, const float* from) {
  const hn::Rebind<float, D> d32;
  return hn::PromoteTo(d, hn::LoadU(d32, from));
}

// The bits of bf16, rounded to nearest even; NaN stays NaN.
template <class D, class V>
HWY_INLINE auto BFloat16Bits([[maybe_unused]] D d, V v) {
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fffu)));
  const auto quiet = hn::Or(bits, hn::Set(d32, 0x400000u));
  const auto chosen = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(v)), quiet, rounded);
  return hn::TruncateTo(d16, hn::ShiftRight<16>(chosen));
}

template <class D, class V>
HWY_INLINE void StoreAs(V v, D d, float* to) {
  hn::StoreU(v, d, to);
}
template <class D, class V>
HWY_INLINE void StoreAs(V v, D d, double* to) {
  hn::StoreU(v, d, to);
}
template <class D, class V>
HWY_INLINE void StoreAs(V v, D d, BFloat16* to) {
  const hn::Rebind<uint16_t, D> d16;
  hn::StoreU(BFloat16Bits(d, v), d16, reinterpret_cast<uint16_t*>(to));
}
template <class D, class V>
HWY_INLINE void StoreAs(V v, [[maybe_unused]] D d, Float16* to) {
  const hn::Rebind<hwy::float16_t, D> d16;
  hn::StoreU(hn::DemoteTo(d16, v), d16, reinterpret_cast<hwy::float16_t*>(to));
}

// Like LoadAs and StoreAs, but touch only the first `count` elements; the lanes beyond are `fill`.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadSome(D d, const T* from, size_t count, hn::TFromD<D> fill = 0) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) return LoadAs(d, from);
  alignas(64) T buffer[hn::MaxLanes(d)] = {};
  std::memcpy(static_cast<void*>(buffer), from, count * sizeof(T));
  return hn::IfThenElse(hn::FirstN(d, count), LoadAs(d, buffer), hn::Set(d, fill));
}
template <class D, class V, class T>
HWY_INLINE void StoreSome(V v, D d, T* to, size_t count) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) {
    StoreAs(v, d, to);
    return;
  }
  alignas(64) T buffer[hn::MaxLanes(d)];
  StoreAs(v, d, buffer);
  std::memcpy(static_cast<void*>(to), buffer, count * sizeof(T));
}

// How the body of ForEachVector reaches its elements: a whole vector, or the last few.
struct WholeVector {
  template <class D, class T>
  HWY_INLINE hn::Vec<D> Load(D d, const T* from) const {
    return LoadAs(d, from);
  }
  template <class D, class V, class T>
  HWY_INLINE void Store(V v, D d, T* to) const {
    StoreAs(v, d, to);
  }
};
struct PartialVector {
  size_t count;

  // Lanes past the end are 0.
  template <class D, class T>
  HWY_INLINE hn::Vec<D> Load(D d, const T* from) const {
    return LoadSome(d, from, count);
  }
  template <class D, class V, class T>
  HWY_INLINE void Store(V v, D d, T* to) const {
    StoreSome(v, d, to, count);
  }
};

// Calls body(first element, access) for each vector of a row, the last one perhaps partial.
template <class D, class Body>
HWY_INLINE void ForEachVector(D d, int64_t length, const Body& body) {
  const int64_t step = hn::Lanes(d);
  int64_t i = 0;
  for (; i + step <= length; i += step) body(i, WholeVector{});
  if (i < length) body(i, PartialVector{static_cast<size_t>(length - i)});
}

// Registers that compute on elements of type T: double for double, else float.
template <class T>
using ComputeTag = hn::ScalableTag<ComputeType<T>>;

// Sum or maximum of all lanes as a scalar.
template <class D, class V>
HWY_INLINE hn::TFromD<D> SumLanes(D d, V v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}
template <class D, class V>
HWY_INLINE hn::TFromD<D> MaxLanes(D d, V v) {
  return hn::GetLane(hn::MaxOfLanes(d, v));
}

// Converts `count` elements.
template <class From, class To>
HWY_INLINE void ConvertRow(const From* from, To* to, int64_t count) {
  const ComputeTag<From> d;
  const int64_t step = hn::Lanes(d);
  int64_t i = 0;
  for (; i + step <= count; i += step) StoreAs(LoadAs(d, from + i), d, to + i);
  if (i < count) StoreSome(LoadSome(d, from + i, count - i), d, to + i, count - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_SIMD_MATH_INL_H_
