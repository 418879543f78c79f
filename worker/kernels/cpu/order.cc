// cumsum, sort, top_k, argmax, argmin.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {
namespace {

template <class T>
bool IsNan(T value) {
  if constexpr (kIsFloatType<T>) {
    return std::isnan(static_cast<ComputeType<T>>(value));
  } else {
    return false;
  }
}

// Ascending order with NaN as the largest.
template <class T>
bool Less(T a, T b) {
  if (IsNan(a)) return false;
  if (IsNan(b)) return true;
  return static_cast<ComputeType<T>>(a) < static_cast<ComputeType<T>>(b);
}

}  // namespace

KernelOr MakeCumsumKernel(const KernelContext& context) {
  const AxisView view = ViewAxis(context.input_shape(0), context.instruction.attributes[0]);
  KernelOr kernel = UnsupportedTypes(context);
  VisitNumber(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Sum = std::conditional_t<kIsFloatType<T>, ComputeType<T>, uint64_t>;  // integers wrap
    kernel = MakeKernel([view, x = In(context, 0), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const int64_t lines = view.outer * view.inner;
      ParallelFor(threads, lines, GrainFor(lines, view.extent * sizeof(T)),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t line = begin; line < end; ++line) {
                      const int64_t first =
                          line / view.inner * view.extent * view.inner + line % view.inner;
                      Sum sum = 0;
                      for (int64_t i = 0; i < view.extent; ++i) {
                        sum += static_cast<Sum>(from[first + i * view.inner]);
                        to[first + i * view.inner] = static_cast<T>(sum);
                      }
                    }
                  });
    });
  });
  return kernel;
}

// sort and top_k. Positions are sorted with ties broken by position, which is what stable means.
KernelOr MakeSortKernel(const KernelContext& context) {
  const bool top_k = context.instruction.op == Op::kTopK;
  const int axis = context.instruction.attributes[0];
  const bool descending = top_k || context.instruction.attributes[1] != 0;
  const AxisView view = ViewAxis(context.input_shape(0), axis);
  const int64_t kept = context.output_shape(0)[axis];
  auto scratch = ScratchFor(context, 8 * context.device.threads * view.extent);
  if (!scratch.ok()) return scratch.status();
  KernelOr kernel = UnsupportedTypes(context);
  VisitAny(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, work = *scratch, x = In(context, 0), values = Out(context, 0),
                         positions = Out(context, 1),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      T* values_out = values.at<T>(arguments);
      int64_t* positions_out = positions.at<int64_t>(arguments);
      const int64_t lines = view.outer * view.inner;
      ParallelFor(threads, lines, GrainFor(lines, 32 * view.extent),
                  [&](int64_t begin, int64_t end, int thread) {
                    int64_t* order = work.at<int64_t>(arguments) + thread * view.extent;
                    for (int64_t line = begin; line < end; ++line) {
                      const int64_t outer = line / view.inner, inner = line % view.inner;
                      const T* elements = from + outer * view.extent * view.inner + inner;
                      std::iota(order, order + view.extent, 0);
                      const auto before = [&](int64_t i, int64_t j) {
                        const T a = elements[i * view.inner], b = elements[j * view.inner];
                        if (descending ? Less(b, a) : Less(a, b)) return true;
                        if (descending ? Less(a, b) : Less(b, a)) return false;
                        return i < j;
                      };
                      if (kept < view.extent) {
                        std::partial_sort(order, order + kept, order + view.extent, before);
                      } else {
                        std::sort(order, order + view.extent, before);
                      }
                      for (int64_t i = 0; i < kept; ++i) {
                        const int64_t at = (outer * kept + i) * view.inner + inner;
                        values_out[at] = elements[order[i] * view.inner];
                        positions_out[at] = order[i];
                      }
                    }
                  });
    });
  });
  return kernel;
}

KernelOr MakeArgExtremeKernel(const KernelContext& context) {
  const AxisView view = ViewAxis(context.input_shape(0), context.instruction.attributes[0]);
  const bool largest = context.instruction.op == Op::kArgmax;
  KernelOr kernel = UnsupportedTypes(context);
  VisitAny(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([view, largest, x = In(context, 0), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      int64_t* to = out.at<int64_t>(arguments);
      const int64_t lines = view.outer * view.inner;
      ParallelFor(threads, lines, GrainFor(lines, view.extent * sizeof(T)),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t line = begin; line < end; ++line) {
                      const T* elements =
                          from + line / view.inner * view.extent * view.inner + line % view.inner;
                      int64_t best = 0;
                      for (int64_t i = 1; i < view.extent; ++i) {
                        const T a = elements[i * view.inner], b = elements[best * view.inner];
                        // NaN counts as the extreme; the first one stays.
                        if (IsNan(b)) break;
                        if (IsNan(a) || (largest ? Less(b, a) : Less(a, b))) best = i;
                      }
                      to[line] = best;
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
