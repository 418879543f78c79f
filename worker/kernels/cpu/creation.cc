// iota, fill, tril, triu.
#include <algorithm>
#include <cstring>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {

KernelOr MakeIotaKernel(const KernelContext& context) {
  // attributes: dtype, axis, rank.
  const AxisView view = ViewAxis(context.output_shape(0), context.instruction.attributes[1]);
  KernelOr kernel = UnsupportedTypes(context);
  VisitAny(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([view, out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      T* to = out.at<T>(arguments);
      const int64_t rows = view.outer * view.extent;
      ParallelFor(threads, rows, GrainFor(rows, view.inner * sizeof(T)),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t row = begin; row < end; ++row) {
                      const int64_t position = row % view.extent;
                      T value;
                      if constexpr (kIsFloatType<T>) {
                        value = T(static_cast<ComputeType<T>>(position));
                      } else {
                        value = static_cast<T>(position);
                      }
                      std::fill_n(to + row * view.inner, view.inner, value);
                    }
                  });
    });
  });
  return kernel;
}

KernelOr MakeFillKernel(const KernelContext& context) {
  const int64_t elements = context.output_shape(0).elements();
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([elements, value = In(context, 0), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      T* to = out.at<T>(arguments);
      const T element = *value.at<const T>(arguments);
      ParallelFor(
          threads, elements, GrainFor(elements, sizeof(T)),
          [&](int64_t begin, int64_t end, int) { std::fill(to + begin, to + end, element); });
    });
  });
  return kernel;
}

KernelOr MakeTriangleKernel(const KernelContext& context) {
  const Shape& shape = context.input_shape(0);
  const int64_t rows = shape[shape.rank() - 2];
  const int64_t columns = shape.back();
  const int64_t diagonal = context.instruction.extents[0];
  const bool lower = context.instruction.op == Op::kTril;
  int64_t lines = 1;
  for (int d = 0; d + 1 < shape.rank(); ++d) lines *= shape[d];
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, x = In(context, 0), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      ParallelFor(threads, lines, GrainFor(lines, columns * sizeof(T)),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t line = begin; line < end; ++line) {
                      // Columns kept: [first, last). The diagonal is any number a client sends.
                      const int64_t row = line % rows;
                      const int64_t edge = diagonal > columns ? columns + 1
                                           : diagonal < -rows ? -rows
                                                              : diagonal;
                      const int64_t split =
                          std::clamp<int64_t>(row + edge + (lower ? 1 : 0), 0, columns);
                      const int64_t first = lower ? 0 : split;
                      const int64_t last = lower ? split : columns;
                      const int64_t at = line * columns;
                      std::fill(to + at, to + at + first, T{0});
                      if (from != to) {
                        std::memcpy(to + at + first, from + at + first, (last - first) * sizeof(T));
                      }
                      std::fill(to + at + last, to + at + columns, T{0});
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
