// unfold, which lists every window, and fold, its adjoint.
#include <algorithm>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/cpu/window_rows.h"

namespace moai {

KernelOr MakeUnfoldKernel(const KernelContext& context) {
  const Shape x_shape = context.input_shape(0);     // n c h w
  const Shape out_shape = context.output_shape(0);  // n c p q h' w'
  const Window window = ConvWindow(context.instruction.extents, out_shape[2], out_shape[3]);
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, x = In(context, 0), padding = In(context, 1), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const T pad = *padding.at<const T>(arguments);
      const int64_t h = x_shape[2], w = x_shape[3];
      const int64_t p_count = out_shape[2], q_count = out_shape[3];
      const int64_t oh = out_shape[4], ow = out_shape[5];
      const int64_t rows = out_shape.elements() / std::max<int64_t>(ow, 1);
      ParallelFor(threads, ow == 0 ? 0 : rows, GrainFor(rows, ow * sizeof(T)),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t row = begin; row < end; ++row) {
                      const int64_t oy = row % oh, q = row / oh % q_count;
                      const int64_t p = row / (oh * q_count) % p_count;
                      const int64_t plane = row / (oh * q_count * p_count);
                      const int64_t iy = InputOf(window.h, oy, p);
                      T* target = to + row * ow;
                      if (iy < 0 || iy >= h) {
                        std::fill_n(target, ow, pad);
                        continue;
                      }
                      const T* source = from + (plane * h + iy) * w;
                      const Range inside = OutputsTouching(window.w, q, ow, {0, w});
                      std::fill(target, target + std::min(inside.begin, ow), pad);
                      for (int64_t i = inside.begin; i < inside.end; ++i) {
                        target[i] = source[InputOf(window.w, i, q)];
                      }
                      std::fill(target + std::min(inside.end, ow), target + ow, pad);
                    }
                  });
    });
  });
  return kernel;
}

KernelOr MakeFoldKernel(const KernelContext& context) {
  const Shape in_shape = context.input_shape(0);    // n c p q h' w'
  const Shape out_shape = context.output_shape(0);  // n c h w
  const Window window = ConvWindow(context.instruction.extents, in_shape[2], in_shape[3]);
  KernelOr kernel = UnsupportedTypes(context);
  VisitFloat(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    kernel = MakeKernel([=, x = In(context, 0), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const int64_t p_count = in_shape[2], q_count = in_shape[3];
      const int64_t oh = in_shape[4], ow = in_shape[5];
      const int64_t h = out_shape[2], w = out_shape[3];
      const int64_t rows = out_shape[0] * out_shape[1] * h;
      ParallelFor(threads, rows, GrainFor(rows, w * p_count * q_count),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t row = begin; row < end; ++row) {
                      const int64_t plane = row / h, iy = row % h;
                      for (int64_t x0 = 0; x0 < w; x0 += kRowChunk) {
                        const Range chunk{x0, std::min(w, x0 + kRowChunk)};
                        C sums[kRowChunk] = {};
                        for (int64_t p = 0; p < p_count; ++p) {
                          const int64_t oy = OutputOf(window.h, iy, p, oh);
                          if (oy < 0) continue;
                          for (int64_t q = 0; q < q_count; ++q) {
                            const T* source =
                                from + (((plane * p_count + p) * q_count + q) * oh + oy) * ow;
                            AddOutputs(window.w, q, ow, chunk, C{1}, source, sums);
                          }
                        }
                        for (int64_t i = chunk.begin; i < chunk.end; ++i) {
                          to[row * w + i] = T(sums[i - x0]);
                        }
                      }
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
