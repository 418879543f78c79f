// group_norm and batch_norm over [n, c, s...], and their gradients.
//
// Both work on runs of s contiguous elements that share n and c. A statistic belongs to one thread,
// which adds its runs in order, in double.
#include <cmath>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/channel_norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/row_math-inl.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// Sum over a run of (x - shift), or of its squares.
double RunSum(Dtype dtype, bool squares, const void* x, int64_t at, int64_t length, double shift) {
  double sum = 0;
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    const T* run = static_cast<const T*>(x) + at;
    sum = squares ? RowSum<true>(run, length, static_cast<C>(shift))
                  : RowSum<false>(run, length, static_cast<C>(shift));
  });
  return sum;
}

// y = (x - shift) * scale + bias over a run.
void NormalizeRun(Dtype dtype, const void* x, void* y, int64_t at, int64_t length, double shift,
                  double scale, double bias) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    const ComputeTag<T> d;
    const int64_t step = hn::Lanes(d);
    const T* from = static_cast<const T*>(x) + at;
    T* to = static_cast<T*>(y) + at;
    const auto m = hn::Set(d, static_cast<C>(shift)), a = hn::Set(d, static_cast<C>(scale)),
               b = hn::Set(d, static_cast<C>(bias));
    for (int64_t i = 0; i < length; i += step) {
      const auto centered = hn::Sub(LoadSome(d, from + i, length - i), m);
      StoreSome(hn::MulAdd(centered, a, b), d, to + i, length - i);
    }
  });
}

// Adds sum(dy) and sum(dy * (x - shift)) over a run.
void GradSumsRun(Dtype dtype, const void* x, const void* dy, int64_t at, int64_t length,
                 double shift, double* sum_dy, double* sum_dy_x) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    const ComputeTag<T> d;
    const int64_t step = hn::Lanes(d);
    const T* from = static_cast<const T*>(x) + at;
    const T* upstream = static_cast<const T*>(dy) + at;
    const auto m = hn::Set(d, static_cast<ComputeType<T>>(shift));
    auto sum = hn::Zero(d), product = hn::Zero(d);
    for (int64_t i = 0; i < length; i += step) {
      const auto g = LoadSome(d, upstream + i, length - i);
      sum = hn::Add(sum, g);
      product = hn::MulAdd(g, hn::Sub(LoadSome(d, from + i, length - i), m), product);
    }
    *sum_dy += SumLanes(d, sum);
    *sum_dy_x += SumLanes(d, product);
  });
}

// dx = dy * a + (x - shift) * b + c over a run.
void GradRun(Dtype dtype, const void* x, const void* dy, void* dx, int64_t at, int64_t length,
             double shift, double a, double b, double c) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    const ComputeTag<T> d;
    const int64_t step = hn::Lanes(d);
    const T* from = static_cast<const T*>(x) + at;
    const T* upstream = static_cast<const T*>(dy) + at;
    T* to = static_cast<T*>(dx) + at;
    const auto m = hn::Set(d, static_cast<C>(shift)), va = hn::Set(d, static_cast<C>(a)),
               vb = hn::Set(d, static_cast<C>(b)), vc = hn::Set(d, static_cast<C>(c));
    for (int64_t i = 0; i < length; i += step) {
      const auto centered = hn::Sub(LoadSome(d, from + i, length - i), m);
      const auto rest = hn::MulAdd(centered, vb, vc);
      StoreSome(hn::MulAdd(LoadSome(d, upstream + i, length - i), va, rest), d, to + i, length - i);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
namespace {

HWY_EXPORT(RunSum);
HWY_EXPORT(NormalizeRun);
HWY_EXPORT(GradSumsRun);
HWY_EXPORT(GradRun);

double ReadFloat(Dtype dtype, const void* from, int64_t at) {
  double value = 0;
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    value = static_cast<ComputeType<T>>(static_cast<const T*>(from)[at]);
  });
  return value;
}

void WriteFloat(Dtype dtype, void* to, int64_t at, double value) {
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    static_cast<T*>(to)[at] = T(static_cast<ComputeType<T>>(value));
  });
}

// What the ops agree on: x is [n, c, s], and statistic k covers the runs that RunsOf lists.
struct Layout {
  Dtype dtype;
  Dtype weight_dtype;
  Dtype statistics_dtype;
  int64_t n, c, s;
  int64_t groups;  // of group_norm; 0 for batch_norm
  double eps;
  int threads;

  int64_t statistics() const { return groups > 0 ? n * groups : c; }
  double count() const { return double(s) * (groups > 0 ? c / groups : n); }

  // Calls body(start of the run, channel) for the runs of one statistic, in order.
  template <class Body>
  void ForEachRun(int64_t statistic, const Body& body) const {
    if (groups > 0) {
      const int64_t channels = c / groups;
      for (int64_t i = 0; i < channels; ++i) {
        const int64_t run = statistic * channels + i;
        body(run * s, run % c);
      }
    } else {
      for (int64_t i = 0; i < n; ++i) body((i * c + statistic) * s, statistic);
    }
  }
};

absl::StatusOr<Layout> MakeLayout(const KernelContext& context) {
  const Instruction& instruction = context.instruction;
  Layout layout;
  layout.dtype = context.input_dtype(0);
  layout.weight_dtype = context.input_dtype(1);
  layout.statistics_dtype = layout.dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
  if (!IsFloat(layout.dtype) || !IsFloat(layout.weight_dtype)) return UnsupportedTypes(context);
  const Shape& shape = context.input_shape(0);
  layout.n = shape[0];
  layout.c = shape[1];
  layout.s = ViewAxis(shape, 1).inner;
  const bool group = instruction.op == Op::kGroupNorm || instruction.op == Op::kGroupNormGrad;
  layout.groups = group ? instruction.extents[0] : 0;
  layout.eps = instruction.numbers.empty() ? 0 : instruction.numbers[0];
  layout.threads = context.device.threads;
  return layout;
}

}  // namespace

KernelOr MakeChannelNormKernel(const KernelContext& context) {
  auto made = MakeLayout(context);
  if (!made.ok()) return made.status();
  return MakeKernel([layout = *made, x = In(context, 0), weight = In(context, 1),
                     bias = In(context, 2), y = Out(context, 0), mean = Out(context, 1),
                     spread = Out(context, 2), run_sum = HWY_DYNAMIC_DISPATCH(RunSum),
                     normalize =
                         HWY_DYNAMIC_DISPATCH(NormalizeRun)](const KernelArguments& arguments) {
    const void* from = x.at<const void>(arguments);
    void* to = y.at<void>(arguments);
    const int64_t work = static_cast<int64_t>(layout.count()) * 4;
    ParallelFor(layout.threads, layout.statistics(), GrainFor(layout.statistics(), work),
                [&](int64_t begin, int64_t end, int) {
                  for (int64_t k = begin; k < end; ++k) {
                    double sum = 0, squares = 0;
                    layout.ForEachRun(k, [&](int64_t at, int64_t) {
                      sum += run_sum(layout.dtype, false, from, at, layout.s, 0);
                    });
                    const double average = sum / layout.count();
                    layout.ForEachRun(k, [&](int64_t at, int64_t) {
                      squares += run_sum(layout.dtype, true, from, at, layout.s, average);
                    });
                    const double variance = squares / layout.count();
                    const double rstd = 1 / std::sqrt(variance + layout.eps);
                    WriteFloat(layout.statistics_dtype, mean.at<void>(arguments), k, average);
                    WriteFloat(layout.statistics_dtype, spread.at<void>(arguments), k,
                               layout.groups > 0 ? rstd : variance);
                    layout.ForEachRun(k, [&](int64_t at, int64_t channel) {
                      const double w =
                          ReadFloat(layout.weight_dtype, weight.at<const void>(arguments), channel);
                      const double b =
                          ReadFloat(layout.weight_dtype, bias.at<const void>(arguments), channel);
                      normalize(layout.dtype, from, to, at, layout.s, average, rstd * w, b);
                    });
                  }
                });
  });
}

KernelOr MakeChannelNormGradKernel(const KernelContext& context) {
  auto made = MakeLayout(context);
  if (!made.ok()) return made.status();
  // inputs: x, weight, mean, rstd or variance, dy
  return MakeKernel([layout = *made, x = In(context, 0), weight = In(context, 1),
                     mean = In(context, 2), spread = In(context, 3), dy = In(context, 4),
                     dx = Out(context, 0), dweight = Out(context, 1), dbias = Out(context, 2),
                     grad_sums = HWY_DYNAMIC_DISPATCH(GradSumsRun),
                     grad_run = HWY_DYNAMIC_DISPATCH(GradRun)](const KernelArguments& arguments) {
    const void* from = x.at<const void>(arguments);
    const void* upstream = dy.at<const void>(arguments);
    const auto mean_of = [&](int64_t k) {
      return ReadFloat(layout.statistics_dtype, mean.at<const void>(arguments), k);
    };
    const auto rstd_of = [&](int64_t k) {
      const double v = ReadFloat(layout.statistics_dtype, spread.at<const void>(arguments), k);
      return layout.groups > 0 ? v : 1 / std::sqrt(v + layout.eps);
    };
    const int64_t work = static_cast<int64_t>(layout.count()) * 4;
    ParallelFor(
        layout.threads, layout.statistics(), GrainFor(layout.statistics(), work),
        [&](int64_t begin, int64_t end, int) {
          for (int64_t k = begin; k < end; ++k) {
            // dx = rstd (g - mean(g) - normalized mean(g normalized)) with g = dy weight.
            const double average = mean_of(k), rstd = rstd_of(k);
            const auto weight_of = [&](int64_t channel) {
              return ReadFloat(layout.weight_dtype, weight.at<const void>(arguments), channel);
            };
            double sum_g = 0, sum_gx = 0;
            layout.ForEachRun(k, [&](int64_t at, int64_t channel) {
              double run_dy = 0, run_dy_x = 0;
              grad_sums(layout.dtype, from, upstream, at, layout.s, average, &run_dy, &run_dy_x);
              sum_g += run_dy * weight_of(channel);
              sum_gx += run_dy_x * weight_of(channel);
            });
            const double b = -rstd * rstd * rstd * sum_gx / layout.count();
            const double c = -rstd * sum_g / layout.count();
            layout.ForEachRun(k, [&](int64_t at, int64_t channel) {
              grad_run(layout.dtype, from, upstream, dx.at<void>(arguments), at, layout.s, average,
                       rstd * weight_of(channel), b, c);
            });
          }
        });
    ParallelFor(layout.threads, layout.c, GrainFor(layout.c, layout.n * layout.s * 4),
                [&](int64_t begin, int64_t end, int) {
                  for (int64_t channel = begin; channel < end; ++channel) {
                    double sum_dy = 0, sum_dy_x = 0;
                    // The statistics of nothing are NaN, but sums over nothing are 0.
                    for (int64_t i = 0; i < layout.n && layout.s > 0; ++i) {
                      const int64_t k = layout.groups > 0 ? i * layout.groups +
                                                                channel / (layout.c / layout.groups)
                                                          : channel;
                      double run_dy = 0, run_dy_x = 0;
                      grad_sums(layout.dtype, from, upstream, (i * layout.c + channel) * layout.s,
                                layout.s, mean_of(k), &run_dy, &run_dy_x);
                      sum_dy += run_dy;
                      sum_dy_x += run_dy_x * rstd_of(k);
                    }
                    WriteFloat(layout.weight_dtype, dweight.at<void>(arguments), channel, sum_dy_x);
                    WriteFloat(layout.weight_dtype, dbias.at<void>(arguments), channel, sum_dy);
                  }
                });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
