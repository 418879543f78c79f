// softmax, log_softmax and their gradients along the last dim.
//
// A row is read three times but comes from memory once: it fits a cache. f32 keeps the exponentials
// in the output between the passes; narrower types compute them again, to round once.
#include <cmath>
#include <limits>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/softmax.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/row_math-inl.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

template <class T>
void SoftmaxRow(const T* x, T* y, int64_t length, bool logarithm) {
  const ComputeTag<T> d;
  const int64_t step = hn::Lanes(d);
  const auto maximum = hn::Set(d, RowMaximum(x, length));
  auto sum = hn::Zero(d);
  for (int64_t i = 0; i < length; i += step) {
    const auto e = VectorExpNonPositive(d, hn::Sub(LoadSome(d, x + i, length - i), maximum));
    sum = hn::Add(sum, i + step <= length ? e : hn::IfThenElseZero(hn::FirstN(d, length - i), e));
    if constexpr (std::is_same_v<T, ComputeType<T>>) {
      if (!logarithm) StoreSome(e, d, y + i, length - i);
    }
  }
  const ComputeType<T> total = SumLanes(d, sum);
  if (logarithm) {
    const auto shift = hn::Add(maximum, hn::Set(d, std::log(total)));
    for (int64_t i = 0; i < length; i += step) {
      StoreSome(hn::Sub(LoadSome(d, x + i, length - i), shift), d, y + i, length - i);
    }
    return;
  }
  const auto scale = hn::Set(d, 1 / total);
  for (int64_t i = 0; i < length; i += step) {
    auto e = scale;
    if constexpr (std::is_same_v<T, ComputeType<T>>) {
      e = LoadSome(d, y + i, length - i);
    } else {
      e = VectorExpNonPositive(d, hn::Sub(LoadSome(d, x + i, length - i), maximum));
    }
    StoreSome(hn::Mul(e, scale), d, y + i, length - i);
  }
}

template <class T>
void SoftmaxGradRow(const T* y, const T* dy, T* dx, int64_t length, bool logarithm) {
  const ComputeTag<T> d;
  const int64_t step = hn::Lanes(d);
  auto sum = hn::Zero(d);
  for (int64_t i = 0; i < length; i += step) {
    const auto g = LoadSome(d, dy + i, length - i);
    sum = logarithm ? hn::Add(sum, g) : hn::MulAdd(LoadSome(d, y + i, length - i), g, sum);
  }
  const auto total = hn::Set(d, SumLanes(d, sum));
  for (int64_t i = 0; i < length; i += step) {
    const auto g = LoadSome(d, dy + i, length - i);
    const auto v = LoadSome(d, y + i, length - i);
    const auto result =
        logarithm ? hn::NegMulAdd(VectorExp(d, v), total, g) : hn::Mul(v, hn::Sub(g, total));
    StoreSome(result, d, dx + i, length - i);
  }
}

// Rows [begin, end). `dy` is null for the forward ops, where `x` is their input; else it is y.
void SoftmaxRows(Dtype dtype, bool logarithm, const void* x, const void* dy, void* out,
                 int64_t length, int64_t begin, int64_t end) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * length;
      T* to = static_cast<T*>(out) + at;
      if (dy == nullptr) {
        SoftmaxRow(static_cast<const T*>(x) + at, to, length, logarithm);
      } else {
        SoftmaxGradRow(static_cast<const T*>(x) + at, static_cast<const T*>(dy) + at, to, length,
                       logarithm);
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
HWY_EXPORT(SoftmaxRows);

KernelOr MakeSoftmaxKernel(const KernelContext& context) {
  const Op op = context.instruction.op;
  const bool logarithm = op == Op::kLogSoftmax || op == Op::kLogSoftmaxGrad;
  const bool gradient = op == Op::kSoftmaxGrad || op == Op::kLogSoftmaxGrad;
  const Dtype dtype = context.input_dtype(0);
  if (!IsFloat(dtype)) return UnsupportedTypes(context);
  const AxisView view = ViewLastDim(context.input_shape(0));
  return MakeKernel([=, x = In(context, 0), dy = gradient ? In(context, 1) : Address{},
                     out = Out(context, 0), rows = HWY_DYNAMIC_DISPATCH(SoftmaxRows),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const void* from = x.at<const void>(arguments);
    const void* upstream = gradient ? dy.at<const void>(arguments) : nullptr;
    void* to = out.at<void>(arguments);
    ParallelFor(threads, view.outer, GrainFor(view.outer, view.extent * 8),
                [&](int64_t begin, int64_t end, int) {
                  rows(dtype, logarithm, from, upstream, to, view.extent, begin, end);
                });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
