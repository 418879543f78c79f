// conv2d and its gradients: oneDNN where it can (conv_library.cc), else blocks of f32
// (conv_blocks.cc), and direct loops for f64 and where a tensor is empty: each output row is summed
// in the compute type before it is rounded, and every output element belongs to one thread.
#include <algorithm>

#include "worker/kernels/cpu/conv_blocks.h"
#include "worker/kernels/cpu/conv_library.h"
#include "worker/kernels/cpu/conv_shape.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/cpu/window_rows.h"

namespace moai {
namespace {

ConvShape MakeShape(const Shape& x, const Shape& weight, const Shape& y,
                    absl::Span<const int64_t> extents) {
  ConvShape s{.window = ConvWindow(extents, weight[2], weight[3]),
              .n = x[0],
              .c = x[1],
              .h = x[2],
              .w = x[3],
              .o = y[1],
              .oh = y[2],
              .ow = y[3]};
  s.group_c = weight[1];
  s.group_o = s.window.groups > 0 ? s.o / s.window.groups : 0;
  return s;
}

template <class T>
void Forward(const ConvShape& s, const T* x, const T* weight, T* y, int64_t begin, int64_t end) {
  using C = ComputeType<T>;
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t image = plane / s.o, output = plane % s.o;
    const int64_t first_c = output / s.group_o * s.group_c;
    for (int64_t oy = 0; oy < s.oh; ++oy) {
      for (int64_t x0 = 0; x0 < s.ow; x0 += kRowChunk) {
        const Range chunk{x0, std::min(s.ow, x0 + kRowChunk)};
        C sums[kRowChunk] = {};
        for (int64_t c = 0; c < s.group_c; ++c) {
          const T* w = weight + s.WeightAt(output, c);
          const T* x_plane = x + (image * s.c + first_c + c) * s.h * s.w;
          for (int64_t p = 0; p < s.window.h.size; ++p) {
            const int64_t iy = InputOf(s.window.h, oy, p);
            if (iy < 0 || iy >= s.h) continue;
            for (int64_t q = 0; q < s.window.w.size; ++q) {
              AddInputs(s.window.w, q, s.w, chunk, static_cast<C>(w[p * s.window.w.size + q]),
                        x_plane + iy * s.w, sums);
            }
          }
        }
        T* row = y + (plane * s.oh + oy) * s.ow;
        for (int64_t i = chunk.begin; i < chunk.end; ++i) row[i] = T(sums[i - x0]);
      }
    }
  }
}

template <class T>
void GradInput(const ConvShape& s, const T* dy, const T* weight, T* dx, int64_t begin,
               int64_t end) {
  using C = ComputeType<T>;
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t image = plane / s.c, c = plane % s.c;
    const int64_t first_o = c / s.group_c * s.group_o;
    for (int64_t iy = 0; iy < s.h; ++iy) {
      for (int64_t x0 = 0; x0 < s.w; x0 += kRowChunk) {
        const Range chunk{x0, std::min(s.w, x0 + kRowChunk)};
        C sums[kRowChunk] = {};
        for (int64_t o = first_o; o < first_o + s.group_o; ++o) {
          const T* w = weight + s.WeightAt(o, c % s.group_c);
          for (int64_t p = 0; p < s.window.h.size; ++p) {
            const int64_t oy = OutputOf(s.window.h, iy, p, s.oh);
            if (oy < 0) continue;
            const T* dy_row = dy + ((image * s.o + o) * s.oh + oy) * s.ow;
            for (int64_t q = 0; q < s.window.w.size; ++q) {
              AddOutputs(s.window.w, q, s.ow, chunk, static_cast<C>(w[p * s.window.w.size + q]),
                         dy_row, sums);
            }
          }
        }
        T* row = dx + (plane * s.h + iy) * s.w;
        for (int64_t i = chunk.begin; i < chunk.end; ++i) row[i] = T(sums[i - x0]);
      }
    }
  }
}

// [begin, end) counts pairs of an output channel and an input channel of its group.
template <class T>
void GradWeight(const ConvShape& s, const T* dy, const T* x, T* dweight, int64_t begin,
                int64_t end) {
  using C = ComputeType<T>;
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t o = pair / s.group_c;
    const int64_t c = o / s.group_o * s.group_c + pair % s.group_c;
    for (int64_t p = 0; p < s.window.h.size; ++p) {
      for (int64_t q = 0; q < s.window.w.size; ++q) {
        double sum = 0;
        const Range rows = OutputsTouching(s.window.h, p, s.oh, {0, s.h});
        const Range columns = OutputsTouching(s.window.w, q, s.ow, {0, s.w});
        const int64_t offset = q * s.window.w.dilation - s.window.w.low;
        for (int64_t image = 0; image < s.n; ++image) {
          for (int64_t oy = rows.begin; oy < rows.end; ++oy) {
            const T* dy_row = dy + ((image * s.o + o) * s.oh + oy) * s.ow;
            const T* x_row =
                x + ((image * s.c + c) * s.h + InputOf(s.window.h, oy, p)) * s.w + offset;
            C row_sum = 0;
            for (int64_t i = columns.begin; i < columns.end; ++i) {
              row_sum += static_cast<C>(dy_row[i]) * static_cast<C>(x_row[i * s.window.w.stride]);
            }
            sum += row_sum;
          }
        }
        dweight[(pair * s.window.h.size + p) * s.window.w.size + q] = T(static_cast<C>(sum));
      }
    }
  }
}

}  // namespace

KernelOr MakeConvKernel(const KernelContext& context) {
  if (std::unique_ptr<Kernel> library = MakeLibraryConvKernel(context)) return library;
  const Op op = context.instruction.op;
  const absl::Span<const int64_t> extents = context.instruction.extents;
  const Shape& a = context.input_shape(0);
  const Shape& b = context.input_shape(1);
  const Shape& out_shape = context.output_shape(0);
  const ConvShape shape = op == Op::kConv2d            ? MakeShape(a, b, out_shape, extents)
                          : op == Op::kConv2dGradInput ? MakeShape(out_shape, b, a, extents)
                                                       : MakeShape(b, out_shape, a, extents);
  const bool empty = a.elements() == 0 || b.elements() == 0 || out_shape.elements() == 0;
  if (context.input_dtype(0) != Dtype::kF64 && !empty) return MakeConvBlocksKernel(context, shape);
  KernelOr kernel = UnsupportedTypes(context);
  VisitFloat(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([op, shape, first = In(context, 0), second = In(context, 1),
                         out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* first_in = first.at<const T>(arguments);
      const T* second_in = second.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const int64_t items = op == Op::kConv2d            ? shape.n * shape.o
                            : op == Op::kConv2dGradInput ? shape.n * shape.c
                                                         : shape.o * shape.group_c;
      const int64_t flops = shape.n * shape.o * shape.oh * shape.ow * shape.WorkPerOutput();
      ParallelFor(threads, items, GrainFor(items, flops / std::max<int64_t>(items, 1)),
                  [&](int64_t begin, int64_t end, int) {
                    if (op == Op::kConv2d) {
                      Forward(shape, first_in, second_in, to, begin, end);
                    } else if (op == Op::kConv2dGradInput) {
                      GradInput(shape, first_in, second_in, to, begin, end);
                    } else {
                      GradWeight(shape, first_in, second_in, to, begin, end);
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
