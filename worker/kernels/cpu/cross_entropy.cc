// cross_entropy over rows of logits, and its gradient.
#include <cmath>
#include <limits>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/cross_entropy.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/row_math-inl.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// log(sum(e^x)) of one row.
void LogSumExpRow(Dtype dtype, const void* logits, int64_t at, int64_t length, void* lse,
                  int64_t row) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    const T* x = static_cast<const T*>(logits) + at;
    const ComputeType<T> maximum = RowMaximum(x, length);
    const ComputeType<T> sum = RowSumOfExponentials(x, length, maximum);
    static_cast<ComputeType<T>*>(lse)[row] = maximum + std::log(sum);
  });
}

// dlogits = (e^(x - lse) - onehot(label)) * dloss of one row.
void CrossEntropyGradRow(Dtype dtype, const void* logits, int64_t at, int64_t length,
                         const void* lse, const void* dloss, int64_t row, int64_t label,
                         void* out) {
  VisitFloat(dtype, [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    const ComputeTag<T> d;
    const T* x = static_cast<const T*>(logits) + at;
    T* to = static_cast<T*>(out) + at;
    const ComputeType<T> row_lse = static_cast<const ComputeType<T>*>(lse)[row];
    const ComputeType<T> scale = static_cast<const ComputeType<T>*>(dloss)[row];
    const ComputeType<T> label_logit = static_cast<ComputeType<T>>(x[label]);
    const auto shift = hn::Set(d, row_lse);
    const auto factor = hn::Set(d, scale);
    ForEachVector(d, length, [&](int64_t i, auto access) HWY_ATTR {
      const auto e = VectorExpNonPositive(d, hn::Sub(access.Load(d, x + i), shift));
      access.Store(hn::Mul(e, factor), d, to + i);
    });
    to[label] = T((std::exp(label_logit - row_lse) - 1) * scale);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
namespace {

HWY_EXPORT(LogSumExpRow);
HWY_EXPORT(CrossEntropyGradRow);

double ReadLogit(Dtype dtype, const void* logits, int64_t at) {
  double logit = 0;
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    logit = static_cast<ComputeType<T>>(static_cast<const T*>(logits)[at]);
  });
  return logit;
}

// Writes to element `row` of a tensor of statistics: f32, or f64 beside f64 logits.
void WriteStatistic(Dtype logits, void* to, int64_t row, double value) {
  if (logits == Dtype::kF64) {
    static_cast<double*>(to)[row] = value;
  } else {
    static_cast<float*>(to)[row] = static_cast<float>(value);
  }
}

double ReadStatistic(Dtype logits, const void* from, int64_t row) {
  return logits == Dtype::kF64 ? static_cast<const double*>(from)[row]
                               : static_cast<const float*>(from)[row];
}

KernelOr MakeForward(const KernelContext& context) {
  const AxisView view = ViewLastDim(context.input_shape(0));
  return MakeKernel([view, dtype = context.input_dtype(0), logits = In(context, 0),
                     labels = In(context, 1), labels_dtype = context.input_dtype(1),
                     ignored = int64_t{context.instruction.attributes[0]}, loss = Out(context, 0),
                     lse = Out(context, 1), instruction = context.index,
                     log_sum_exp = HWY_DYNAMIC_DISPATCH(LogSumExpRow),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const void* x = logits.at<const void>(arguments);
    void* lse_out = lse.at<void>(arguments);
    void* loss_out = loss.at<void>(arguments);
    const IndexReader label_of = Indices(arguments, labels, labels_dtype);
    const int64_t length = view.extent;
    ParallelFor(threads, view.outer, GrainFor(view.outer, length * 8),
                [&](int64_t begin, int64_t end, int) {
                  for (int64_t row = begin; row < end; ++row) {
                    log_sum_exp(dtype, x, row * length, length, lse_out, row);
                    const int64_t label = label_of[row];
                    double row_loss = 0;
                    if (label != ignored) {
                      if (label < 0 || label >= length) {
                        arguments.errors->RaiseIndexOutOfRange(instruction, label, length);
                      } else {
                        row_loss = ReadStatistic(dtype, lse_out, row) -
                                   ReadLogit(dtype, x, row * length + label);
                      }
                    }
                    WriteStatistic(dtype, loss_out, row, row_loss);
                  }
                });
  });
}

KernelOr MakeGrad(const KernelContext& context) {
  const AxisView view = ViewLastDim(context.input_shape(0));
  return MakeKernel([view, dtype = context.input_dtype(0), logits = In(context, 0),
                     labels = In(context, 1), labels_dtype = context.input_dtype(1),
                     lse = In(context, 2), dloss = In(context, 3),
                     ignored = int64_t{context.instruction.attributes[0]}, out = Out(context, 0),
                     instruction = context.index,
                     grad_row = HWY_DYNAMIC_DISPATCH(CrossEntropyGradRow),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const void* x = logits.at<const void>(arguments);
    const void* row_lse = lse.at<const void>(arguments);
    const void* row_dloss = dloss.at<const void>(arguments);
    std::byte* to = out.at<std::byte>(arguments);
    const IndexReader label_of = Indices(arguments, labels, labels_dtype);
    const int64_t length = view.extent;
    const int64_t row_bytes = length * ByteSize(dtype);
    ParallelFor(threads, view.outer, GrainFor(view.outer, length * 8),
                [&](int64_t begin, int64_t end, int) {
                  for (int64_t row = begin; row < end; ++row) {
                    const int64_t label = label_of[row];
                    const bool inside = label >= 0 && label < length;
                    if (label == ignored || !inside) {
                      if (label != ignored) {
                        arguments.errors->RaiseIndexOutOfRange(instruction, label, length);
                      }
                      std::memset(to + row * row_bytes, 0, row_bytes);
                      continue;
                    }
                    grad_row(dtype, x, row * length, length, row_lse, row_dloss, row, label, to);
                  }
                });
  });
}

}  // namespace

KernelOr MakeCrossEntropyKernel(const KernelContext& context) {
  if (!IsFloat(context.input_dtype(0))) return UnsupportedTypes(context);
  return context.instruction.op == Op::kCrossEntropy ? MakeForward(context) : MakeGrad(context);
}

}  // namespace moai
#endif  // HWY_ONCE
