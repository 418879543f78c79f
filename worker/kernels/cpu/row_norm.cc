// layer_norm and rms_norm over the last dim, and their gradients.
//
// The weights' gradients are sums over rows: each chunk of rows adds up its own in scratch, then
// the chunks are added in order. Chunks depend on the number of rows only.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/row_norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/row_math-inl.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// `bias` and `mean` are null for rms_norm.
template <class T, class W>
void NormRow(const T* x, const W* weight, const W* bias, ComputeType<T> eps, T* y,
             ComputeType<T>* mean, ComputeType<T>* rstd, int64_t length) {
  using C = ComputeType<T>;
  const ComputeTag<T> d;
  const C row_mean =
      mean == nullptr ? C{0} : RowSum<false>(x, length, C{0}) / static_cast<C>(length);
  const C square = RowSum<true>(x, length, row_mean) / static_cast<C>(length);
  const C row_rstd = 1 / std::sqrt(square + eps);
  if (mean != nullptr) *mean = row_mean;
  *rstd = row_rstd;
  const auto m = hn::Set(d, row_mean), r = hn::Set(d, row_rstd);
  ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
    const auto v = hn::Mul(hn::Sub(access.Load(d, x + i), m), r);
    const auto w = access.Load(d, weight + i);
    access.Store(bias == nullptr ? hn::Mul(v, w) : hn::MulAdd(v, w, access.Load(d, bias + i)), d,
                 y + i);
  });
}

// kRows rows at once, so that the weights and their gradients are read and written once for all of
// them. Two: more rows whose distance is a power of two fall into the same cache set (f32, width
// 1024, in cache: 5.5 ns a vector for one row, 4.5 for two, 5.6 for four). dweight and dbias are
// added to; dbias and mean are null for rms_norm.
template <int kRows, class T, class W>
void NormGradBlock(const T* x, const W* weight, const ComputeType<T>* mean,
                   const ComputeType<T>* rstd, const T* dy, T* dx, ComputeType<T>* dweight,
                   ComputeType<T>* dbias, int64_t length) {
  using C = ComputeType<T>;
  using V = hn::Vec<ComputeTag<T>>;
  const ComputeTag<T> d;
  const C scale = C{1} / static_cast<C>(length);
  V m[kRows], r[kRows], mean_g[kRows], mean_gx[kRows];
  for (int k = 0; k < kRows; ++k) {
    m[k] = hn::Set(d, mean == nullptr ? C{0} : mean[k]);
    r[k] = hn::Set(d, rstd[k]);
    V sum_g = hn::Zero(d), sum_gx = hn::Zero(d);
    ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
      const V centered = hn::Sub(access.Load(d, x + k * length + i), m[k]);
      const V g = hn::Mul(access.Load(d, dy + k * length + i), access.Load(d, weight + i));
      sum_g = hn::Add(sum_g, g);
      sum_gx = hn::MulAdd(g, centered, sum_gx);
    });
    mean_g[k] = hn::Set(d, mean == nullptr ? C{0} : SumLanes(d, sum_g) * scale);
    mean_gx[k] = hn::Set(d, SumLanes(d, sum_gx) * rstd[k] * scale);
  }
  ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
    const V w = access.Load(d, weight + i);
    V weight_sum = access.Load(d, dweight + i);
    V bias_sum = dbias == nullptr ? hn::Zero(d) : access.Load(d, dbias + i);
    HWY_UNROLL(8)
    for (int k = 0; k < kRows; ++k) {
      const V normalized = hn::Mul(hn::Sub(access.Load(d, x + k * length + i), m[k]), r[k]);
      const V upstream = access.Load(d, dy + k * length + i);
      weight_sum = hn::MulAdd(upstream, normalized, weight_sum);
      bias_sum = hn::Add(bias_sum, upstream);
      // Not fused: where g equals its mean, the difference must be 0.
      const V centered = hn::Sub(hn::Mul(upstream, w), mean_g[k]);
      access.Store(hn::Mul(r[k], hn::NegMulAdd(normalized, mean_gx[k], centered)), d,
                   dx + k * length + i);
    }
    access.Store(weight_sum, d, dweight + i);
    if (dbias != nullptr) access.Store(bias_sum, d, dbias + i);
  });
}

void NormRows(Dtype dtype, Dtype weight_dtype, const void* x, const void* weight, const void* bias,
              double eps, void* y, void* mean, void* rstd, int64_t length, int64_t begin,
              int64_t end) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    const auto rows = [&](auto weight_tag) HWY_ATTR {
      using W = typename decltype(weight_tag)::type;
      for (int64_t row = begin; row < end; ++row) {
        NormRow(static_cast<const T*>(x) + row * length, static_cast<const W*>(weight),
                static_cast<const W*>(bias), static_cast<C>(eps), static_cast<T*>(y) + row * length,
                mean == nullptr ? nullptr : static_cast<C*>(mean) + row,
                static_cast<C*>(rstd) + row, length);
      }
    };
    if (weight_dtype == dtype) {
      rows(tag);
    } else {
      rows(TypeTag<float>{});
    }
  });
}

void NormGradRows(Dtype dtype, Dtype weight_dtype, const void* x, const void* weight,
                  const void* mean, const void* rstd, const void* dy, void* dx, void* dweight,
                  void* dbias, int64_t length, int64_t begin, int64_t end) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    const auto rows = [&](auto weight_tag) HWY_ATTR {
      using W = typename decltype(weight_tag)::type;
      const auto block = [&](auto rows_tag, int64_t row) HWY_ATTR {
        NormGradBlock<decltype(rows_tag)::value>(
            static_cast<const T*>(x) + row * length, static_cast<const W*>(weight),
            mean == nullptr ? nullptr : static_cast<const C*>(mean) + row,
            static_cast<const C*>(rstd) + row, static_cast<const T*>(dy) + row * length,
            static_cast<T*>(dx) + row * length, static_cast<C*>(dweight), static_cast<C*>(dbias),
            length);
      };
      int64_t row = begin;
      for (; row + 2 <= end; row += 2) block(std::integral_constant<int, 2>(), row);
      for (; row < end; ++row) block(std::integral_constant<int, 1>(), row);
    };
    if (weight_dtype == dtype) {
      rows(tag);
    } else {
      rows(TypeTag<float>{});
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
namespace {

HWY_EXPORT(NormRows);
HWY_EXPORT(NormGradRows);

// The workspace table counts on it.
constexpr int64_t kMaxChunks = 64;

bool TakesTypes(const KernelContext& context) {
  const Dtype x = context.input_dtype(0), weight = context.input_dtype(1);
  return IsFloat(x) && (weight == x || weight == Dtype::kF32);
}

// out[i] = sum over chunks, in order.
template <class C, class W>
void SumChunks(int threads, const C* partial, int64_t chunks, int64_t stride, int64_t length,
               W* out) {
  ParallelFor(threads, length, GrainFor(length, chunks * sizeof(C)),
              [&](int64_t begin, int64_t end, int) {
                for (int64_t i = begin; i < end; ++i) {
                  C sum = 0;
                  for (int64_t chunk = 0; chunk < chunks; ++chunk)
                    sum += partial[chunk * stride + i];
                  out[i] = W(sum);
                }
              });
}

}  // namespace

KernelOr MakeRowNormKernel(const KernelContext& context) {
  if (!TakesTypes(context)) return UnsupportedTypes(context);
  const bool layer = context.instruction.op == Op::kLayerNorm;
  const AxisView view = ViewLastDim(context.input_shape(0));
  return MakeKernel([=, dtype = context.input_dtype(0), weight_dtype = context.input_dtype(1),
                     eps = context.instruction.numbers[0], x = In(context, 0),
                     weight = In(context, 1), bias = layer ? In(context, 2) : Address{},
                     y = Out(context, 0), mean = layer ? Out(context, 1) : Address{},
                     rstd = Out(context, layer ? 2 : 1), rows = HWY_DYNAMIC_DISPATCH(NormRows),
                     threads = context.device.threads](const KernelArguments& arguments) {
    ParallelFor(threads, view.outer, GrainFor(view.outer, view.extent * 4),
                [&](int64_t begin, int64_t end, int) {
                  rows(dtype, weight_dtype, x.at<const void>(arguments),
                       weight.at<const void>(arguments),
                       layer ? bias.at<const void>(arguments) : nullptr, eps, y.at<void>(arguments),
                       layer ? mean.at<void>(arguments) : nullptr, rstd.at<void>(arguments),
                       view.extent, begin, end);
                });
  });
}

KernelOr MakeRowNormGradKernel(const KernelContext& context) {
  if (!TakesTypes(context)) return UnsupportedTypes(context);
  const bool layer = context.instruction.op == Op::kLayerNormGrad;
  const AxisView view = ViewLastDim(context.input_shape(0));
  const int64_t grain = std::max<int64_t>(16, (view.outer + kMaxChunks - 1) / kMaxChunks);
  const int64_t chunks = (view.outer + grain - 1) / grain;
  const Dtype dtype = context.input_dtype(0), weight_dtype = context.input_dtype(1);
  const int64_t element = dtype == Dtype::kF64 ? 8 : 4;
  const int64_t stride = (layer ? 2 : 1) * view.extent;
  auto scratch = ScratchFor(context, chunks * stride * element);
  if (!scratch.ok()) return scratch.status();
  // inputs: x, weight, [mean,] rstd, dy
  return MakeKernel([=, work = *scratch, x = In(context, 0), weight = In(context, 1),
                     mean = layer ? In(context, 2) : Address{}, rstd = In(context, layer ? 3 : 2),
                     dy = In(context, layer ? 4 : 3), dx = Out(context, 0),
                     dweight = Out(context, 1), dbias = layer ? Out(context, 2) : Address{},
                     rows = HWY_DYNAMIC_DISPATCH(NormGradRows),
                     threads = context.device.threads](const KernelArguments& arguments) {
    std::byte* partial = work.at<std::byte>(arguments);
    ParallelFor(threads, view.outer, grain, [&](int64_t begin, int64_t end, int) {
      std::byte* sums = partial + begin / grain * stride * element;
      std::memset(sums, 0, stride * element);
      rows(dtype, weight_dtype, x.at<const void>(arguments), weight.at<const void>(arguments),
           layer ? mean.at<const void>(arguments) : nullptr, rstd.at<const void>(arguments),
           dy.at<const void>(arguments), dx.at<void>(arguments), sums,
           layer ? sums + view.extent * element : nullptr, view.extent, begin, end);
    });
    VisitFloat(dtype, [&](auto tag) {
      VisitFloat(weight_dtype, [&](auto weight_tag) {
        using C = ComputeType<typename decltype(tag)::type>;
        using W = typename decltype(weight_tag)::type;
        const C* sums = reinterpret_cast<const C*>(partial);
        SumChunks(threads, sums, chunks, stride, view.extent, dweight.at<W>(arguments));
        if (!layer) return;
        SumChunks(threads, sums + view.extent, chunks, stride, view.extent, dbias.at<W>(arguments));
      });
    });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
