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
  constexpr bool kKeep = std::is_same_v<T, ComputeType<T>>;
  const ComputeTag<T> d;
  const ComputeType<T> row_maximum = RowMaximum(x, length);
  const auto maximum = hn::Set(d, row_maximum);
  if (logarithm) {
    const auto shift =
        hn::Set(d, row_maximum + std::log(RowSumOfExponentials(x, length, row_maximum)));
    ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
      access.Store(hn::Sub(access.Load(d, x + i), shift), d, y + i);
    });
    return;
  }
  ComputeType<T> total = 0;
  if constexpr (kKeep) {
    auto sum = hn::Zero(d);
    const int64_t step = hn::Lanes(d);
    int64_t i = 0;
    for (; i + step <= length; i += step) {
      const auto e = VectorExpNonPositive(d, hn::Sub(LoadAs(d, x + i), maximum));
      sum = hn::Add(sum, e);
      StoreAs(e, d, y + i);
    }
    if (i < length) {
      const auto e = VectorExpNonPositive(d, hn::Sub(LoadSome(d, x + i, length - i), maximum));
      sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, length - i), e));
      StoreSome(e, d, y + i, length - i);
    }
    total = SumLanes(d, sum);
  } else {
    total = RowSumOfExponentials(x, length, row_maximum);
  }
  const auto scale = hn::Set(d, 1 / total);
  ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
    if constexpr (kKeep) {
      access.Store(hn::Mul(access.Load(d, y + i), scale), d, y + i);
    } else {
      const auto e = VectorExpNonPositive(d, hn::Sub(access.Load(d, x + i), maximum));
      access.Store(hn::Mul(e, scale), d, y + i);
    }
  });
}

template <class T>
void SoftmaxGradRow(const T* y, const T* dy, T* dx, int64_t length, bool logarithm) {
  const ComputeTag<T> d;
  auto sum = hn::Zero(d);
  ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
    const auto g = access.Load(d, dy + i);
    sum = logarithm ? hn::Add(sum, g) : hn::MulAdd(access.Load(d, y + i), g, sum);
  });
  const auto total = hn::Set(d, SumLanes(d, sum));
  ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
    const auto g = access.Load(d, dy + i);
    const auto v = access.Load(d, y + i);
    const auto result =
        logarithm ? hn::NegMulAdd(VectorExp(d, v), total, g) : hn::Mul(v, hn::Sub(g, total));
    access.Store(result, d, dx + i);
  });
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
