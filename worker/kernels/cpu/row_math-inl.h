// Reductions over one row, for kernels that work along the last dim. See simd_math-inl.h for use.

#if defined(MOAI_WORKER_KERNELS_CPU_ROW_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_ROW_MATH_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_ROW_MATH_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_ROW_MATH_INL_H_
#endif

#include "hwy/highway.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// The largest element; -inf of an empty row. NaN may be lost: callers meet it again when they sum.
template <class T>
HWY_INLINE ComputeType<T> RowMaximum(const T* x, int64_t length) {
  const ComputeTag<T> d;
  const int64_t step = hn::Lanes(d);
  const ComputeType<T> lowest = -std::numeric_limits<ComputeType<T>>::infinity();
  auto m0 = hn::Set(d, lowest), m1 = m0, m2 = m0, m3 = m0;
  int64_t i = 0;
  for (; i + 4 * step <= length; i += 4 * step) {
    m0 = hn::Max(m0, LoadAs(d, x + i));
    m1 = hn::Max(m1, LoadAs(d, x + i + step));
    m2 = hn::Max(m2, LoadAs(d, x + i + 2 * step));
    m3 = hn::Max(m3, LoadAs(d, x + i + 3 * step));
  }
  for (; i < length; i += step) m0 = hn::Max(m0, LoadSome(d, x + i, length - i, lowest));
  return MaxLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3)));
}

// Sum of e^(x - maximum).
template <class T>
HWY_INLINE ComputeType<T> RowSumOfExponentials(const T* x, int64_t length, ComputeType<T> maximum) {
  const ComputeTag<T> d;
  const int64_t step = hn::Lanes(d);
  const auto m = hn::Set(d, maximum);
  auto s0 = hn::Zero(d), s1 = s0;
  int64_t i = 0;
  for (; i + 2 * step <= length; i += 2 * step) {
    s0 = hn::Add(s0, VectorExpNonPositive(d, hn::Sub(LoadAs(d, x + i), m)));
    s1 = hn::Add(s1, VectorExpNonPositive(d, hn::Sub(LoadAs(d, x + i + step), m)));
  }
  for (; i < length; i += step) {
    const auto e = VectorExpNonPositive(d, hn::Sub(LoadSome(d, x + i, length - i), m));
    s0 = hn::Add(s0, hn::IfThenElseZero(hn::FirstN(d, length - i), e));
  }
  return SumLanes(d, hn::Add(s0, s1));
}

// Sum of (x - shift), or of its squares.
template <bool kSquares, class T>
HWY_INLINE ComputeType<T> RowSum(const T* x, int64_t length, ComputeType<T> shift) {
  const ComputeTag<T> d;
  const int64_t step = hn::Lanes(d);
  const auto s = hn::Set(d, shift);
  auto sum0 = hn::Zero(d), sum1 = sum0;
  const auto add = [&](auto sum, auto v)
                       HWY_ATTR { return kSquares ? hn::MulAdd(v, v, sum) : hn::Add(sum, v); };
  int64_t i = 0;
  for (; i + 2 * step <= length; i += 2 * step) {
    sum0 = add(sum0, hn::Sub(LoadAs(d, x + i), s));
    sum1 = add(sum1, hn::Sub(LoadAs(d, x + i + step), s));
  }
  // Lanes past the end hold `shift`, and so add nothing.
  for (; i < length; i += step) {
    sum0 = add(sum0, hn::Sub(LoadSome(d, x + i, length - i, shift), s));
  }
  return SumLanes(d, hn::Add(sum0, sum1));
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_ROW_MATH_INL_H_
