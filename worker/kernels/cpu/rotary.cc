// rotary embedding, halves convention.
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/rotary.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

template <class T, class W>
void RotateHead(const T* x, const W* cosine, const W* sine, bool inverse, T* y, int64_t half) {
  const ComputeTag<T> d;
  const int64_t step = hn::Lanes(d);
  for (int64_t i = 0; i < half; i += step) {
    const int64_t count = half - i;
    const auto c = LoadSome(d, cosine + i, count);
    const auto angle_sine = LoadSome(d, sine + i, count);
    const auto s = inverse ? hn::Neg(angle_sine) : angle_sine;
    const auto x1 = LoadSome(d, x + i, count), x2 = LoadSome(d, x + half + i, count);
    StoreSome(hn::MulSub(x1, c, hn::Mul(x2, s)), d, y + i, count);
    StoreSome(hn::MulAdd(x2, c, hn::Mul(x1, s)), d, y + half + i, count);
  }
}

// Positions [begin, end) of batch times sequence.
void RotatePositions(Dtype dtype, Dtype table_dtype, const void* x, const void* cosine,
                     const void* sine, bool inverse, void* y, int64_t sequence, int64_t heads,
                     int64_t half, int64_t begin, int64_t end) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    const auto positions = [&](auto table_tag) HWY_ATTR {
      using W = typename decltype(table_tag)::type;
      for (int64_t p = begin; p < end; ++p) {
        const int64_t table = p % sequence * half;
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t at = (p * heads + h) * 2 * half;
          RotateHead(static_cast<const T*>(x) + at, static_cast<const W*>(cosine) + table,
                     static_cast<const W*>(sine) + table, inverse, static_cast<T*>(y) + at, half);
        }
      }
    };
    if (table_dtype == dtype) {
      positions(tag);
    } else {
      positions(TypeTag<float>{});
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
HWY_EXPORT(RotatePositions);

KernelOr MakeRotaryKernel(const KernelContext& context) {
  const Dtype dtype = context.input_dtype(0), table_dtype = context.input_dtype(1);
  if (!IsFloat(dtype) || (table_dtype != dtype && table_dtype != Dtype::kF32)) {
    return UnsupportedTypes(context);
  }
  const Shape shape = context.input_shape(0);  // b s h d
  return MakeKernel([=, inverse = context.instruction.attributes[0] != 0, x = In(context, 0),
                     cosine = In(context, 1), sine = In(context, 2), y = Out(context, 0),
                     rotate = HWY_DYNAMIC_DISPATCH(RotatePositions),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const int64_t positions = shape[0] * shape[1];
    ParallelFor(threads, positions, GrainFor(positions, shape[2] * shape[3] * 4),
                [&](int64_t begin, int64_t end, int) {
                  rotate(dtype, table_dtype, x.at<const void>(arguments),
                         cosine.at<const void>(arguments), sine.at<const void>(arguments), inverse,
                         y.at<void>(arguments), shape[1], shape[2], shape[3] / 2, begin, end);
                });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
