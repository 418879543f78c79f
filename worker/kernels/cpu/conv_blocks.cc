// conv2d and its gradients for floats of up to 32 bits, as products of matrices that are never
// stored whole: each block of the filters and of the unfolded windows is gathered and converted to
// f32 in cache, and each element of the result is rounded once. Where a window has no element the
// matrix has a 0, so an infinite factor beside it gives NaN (README.md).
//
//   conv2d              y[o, pixel]    = sum over (c, p, q)      of weight[o, c p q]  x[c p q,
//   pixel] conv2d_grad_input   dx[c, pixel]   = sum over (o, p, q)      of weight[c, o p q]  dy[o p
//   q, pixel] conv2d_grad_weight  dw[o, c p q]   = sum over (image, pixel) of dy[o, pixel] x[pixel,
//   c p q]
#include "worker/kernels/cpu/conv_blocks.h"

#include <algorithm>

#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/cpu/window_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/conv_blocks.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/block_product-inl.h"

// One block of a result; the same for every instruction set.
#ifndef MOAI_WORKER_KERNELS_CPU_CONV_BLOCKS_TASK_
#define MOAI_WORKER_KERNELS_CPU_CONV_BLOCKS_TASK_
namespace moai {

struct ConvBlockTask {
  int64_t image, group;
  int64_t row, column;  // of the matrix of that image and group
};

}  // namespace moai
#endif

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// to[i] = x[InputOf(pixel + i, (p, q))] of one plane of the input, 0 where that is padding; `i`
// counts output pixels.
template <class T>
void GatherInputs(const ConvShape& s, const T* plane, int64_t p, int64_t q, int64_t pixel,
                  int64_t count, float* to) {
  const WindowAxis& axis = s.window.w;
  const Range inside = OutputsTouching(axis, q, s.ow, {0, s.w});
  for (int64_t end = pixel + count; pixel < end;) {
    const int64_t oy = pixel / s.ow, begin = pixel % s.ow;
    const int64_t limit = std::min(s.ow, begin + end - pixel);
    const int64_t iy = InputOf(s.window.h, oy, p);
    const int64_t first = std::clamp(inside.begin, begin, limit);
    const int64_t last = iy < 0 || iy >= s.h ? first : std::clamp(inside.end, first, limit);
    std::fill(to, to + (first - begin), 0.0f);
    if (last > first) {
      const T* row = plane + iy * s.w + InputOf(axis, first, q);
      ConvertPart<T, float>({row, 0, axis.stride}, 1, last - first, {to + (first - begin), 0, 1});
    }
    std::fill(to + (last - begin), to + (limit - begin), 0.0f);
    to += limit - begin;
    pixel += limit - begin;
  }
}

// to[i] = dy at the window whose element (p, q) is at input pixel + i, 0 where there is none; of
// one plane of the output.
template <class T>
void GatherOutputs(const ConvShape& s, const T* plane, int64_t p, int64_t q, int64_t pixel,
                   int64_t count, float* to) {
  const WindowAxis& axis = s.window.w;
  for (int64_t end = pixel + count; pixel < end;) {
    const int64_t iy = pixel / s.w, begin = pixel % s.w;
    const int64_t limit = std::min(s.w, begin + end - pixel);
    std::fill(to, to + (limit - begin), 0.0f);
    const int64_t oy = OutputOf(s.window.h, iy, p, s.oh);
    const Range outputs = OutputsTouching(axis, q, s.ow, {begin, limit});
    if (oy >= 0 && outputs.end > outputs.begin) {
      float* target = to + InputOf(axis, outputs.begin, q) - begin;
      ConvertPart<T, float>({plane + oy * s.ow + outputs.begin, 0, 1}, 1,
                            outputs.end - outputs.begin, {target, 0, axis.stride});
    }
    to += limit - begin;
    pixel += limit - begin;
  }
}

template <class T>
void StoreRows(const ProductBlock& block, const float* from, int64_t rows, int64_t columns, T* to,
               int64_t to_row) {
  for (int64_t r = 0; r < rows; ++r) ConvertRow(from + r * block.n, to + r * to_row, columns);
}

template <class T>
void ForwardBlock(const ConvShape& s, const ProductBlock& block, const ConvBlockTask& task,
                  const T* x, const T* weight, T* y, float* scratch) {
  const int64_t pixels = s.oh * s.ow, depth = s.WorkPerOutput(), window = s.WindowSize();
  const int64_t rows = std::min(block.m, s.group_o - task.row);
  const int64_t columns = std::min(block.n, pixels - task.column);
  const int64_t first_o = task.group * s.group_o + task.row;
  const ProductBuffers<float> buffers(block, scratch);
  MultiplyBlocks(
      block, rows, columns, depth, buffers,
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        const MatrixPart<float> part{to, block.k, 1};
        ConvertPart<T, float>({weight + first_o * depth + k, depth, 1}, rows, count, part);
        return part;
      },
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        for (int64_t i = k; i < k + count; ++i, to += block.n) {
          const int64_t c = task.group * s.group_c + i / window, q = i % window;
          GatherInputs(s, x + (task.image * s.c + c) * s.h * s.w, q / s.window.w.size,
                       q % s.window.w.size, task.column, columns, to);
        }
      });
  StoreRows(block, buffers.c, rows, columns,
            y + (task.image * s.o + first_o) * pixels + task.column, pixels);
}

template <class T>
void GradInputBlock(const ConvShape& s, const ProductBlock& block, const ConvBlockTask& task,
                    const T* dy, const T* weight, T* dx, float* scratch) {
  const int64_t pixels = s.h * s.w, window = s.WindowSize();
  const int64_t rows = std::min(block.m, s.group_c - task.row);
  const int64_t columns = std::min(block.n, pixels - task.column);
  const int64_t first_o = task.group * s.group_o;
  const ProductBuffers<float> buffers(block, scratch);
  MultiplyBlocks(
      block, rows, columns, s.group_o * window, buffers,
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        const MatrixPart<float> part{to, 1, block.m};
        for (int64_t i = k; i < k + count; ++i, to += block.m) {
          const T* from = weight + s.WeightAt(first_o + i / window, task.row) + i % window;
          ConvertPart<T, float>({from, 0, window}, 1, rows, {to, 0, 1});
        }
        return part;
      },
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        for (int64_t i = k; i < k + count; ++i, to += block.n) {
          const int64_t o = first_o + i / window, q = i % window;
          GatherOutputs(s, dy + (task.image * s.o + o) * s.oh * s.ow, q / s.window.w.size,
                        q % s.window.w.size, task.column, columns, to);
        }
      });
  const int64_t first_c = task.group * s.group_c + task.row;
  StoreRows(block, buffers.c, rows, columns,
            dx + (task.image * s.c + first_c) * pixels + task.column, pixels);
}

template <class T>
void GradWeightBlock(const ConvShape& s, const ProductBlock& block, const ConvBlockTask& task,
                     const T* dy, const T* x, T* dweight, float* scratch) {
  const int64_t pixels = s.oh * s.ow, filter = s.WorkPerOutput(), window = s.WindowSize();
  const int64_t rows = std::min(block.m, s.group_o - task.row);
  const int64_t columns = std::min(block.n, filter - task.column);
  const int64_t first_o = task.group * s.group_o + task.row;
  const ProductBuffers<float> buffers(block, scratch);
  // The sum runs through the pixels of all images. Calls run(image, pixel, count, position).
  const auto for_each_image = [&](int64_t k, int64_t count, const auto& run) HWY_ATTR {
    for (int64_t at = k; at < k + count;) {
      const int64_t pixel = at % pixels, length = std::min(pixels - pixel, k + count - at);
      run(at / pixels, pixel, length, at - k);
      at += length;
    }
  };
  MultiplyBlocks(
      block, rows, columns, s.n * pixels, buffers,
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        for_each_image(
            k, count, [&](int64_t image, int64_t pixel, int64_t length, int64_t at) HWY_ATTR {
              ConvertPart<T, float>({dy + (image * s.o + first_o) * pixels + pixel, pixels, 1},
                                    rows, length, {to + at, block.k, 1});
            });
        return MatrixPart<float>{to, block.k, 1};
      },
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        for_each_image(k, count,
                       [&](int64_t image, int64_t pixel, int64_t length, int64_t at) HWY_ATTR {
                         float line[kMaxProductDepth];
                         for (int64_t i = 0; i < columns; ++i) {
                           const int64_t c = task.group * s.group_c + (task.column + i) / window;
                           const int64_t q = (task.column + i) % window;
                           GatherInputs(s, x + (image * s.c + c) * s.h * s.w, q / s.window.w.size,
                                        q % s.window.w.size, pixel, length, line);
                           for (int64_t j = 0; j < length; ++j)
                             to[(at + j) * block.n + i] = line[j];
                         }
                       });
      });
  StoreRows(block, buffers.c, rows, columns, dweight + first_o * filter + task.column, filter);
}

template <class T>
void ConvBlock(Op op, const ConvShape& s, const ProductBlock& block, const ConvBlockTask& task,
               const void* first, const void* second, void* out, float* scratch) {
  const T* a = static_cast<const T*>(first);
  const T* b = static_cast<const T*>(second);
  if (op == Op::kConv2d) {
    ForwardBlock(s, block, task, a, b, static_cast<T*>(out), scratch);
  } else if (op == Op::kConv2dGradInput) {
    GradInputBlock(s, block, task, a, b, static_cast<T*>(out), scratch);
  } else {
    GradWeightBlock(s, block, task, a, b, static_cast<T*>(out), scratch);
  }
}

void ConvBlockOf(Dtype dtype, Op op, const ConvShape& s, const ProductBlock& block,
                 const ConvBlockTask& task, const void* first, const void* second, void* out,
                 float* scratch) {
  if (dtype == Dtype::kF32) {
    ConvBlock<float>(op, s, block, task, first, second, out, scratch);
  } else if (dtype == Dtype::kBF16) {
    ConvBlock<BFloat16>(op, s, block, task, first, second, out, scratch);
  } else {
    ConvBlock<Float16>(op, s, block, task, first, second, out, scratch);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
HWY_EXPORT(ConvBlockOf);

KernelOr MakeConvBlocksKernel(const KernelContext& context, const ConvShape& shape) {
  const Dtype dtype = context.input_dtype(0);
  if (!IsFloat(dtype) || dtype == Dtype::kF64) return UnsupportedTypes(context);
  const Op op = context.instruction.op;
  const ProductSize product = ConvProduct(context.instruction);
  const ProductBlock block = BlockOfProduct(product.m, product.n, product.k);
  const int64_t elements = block.elements();
  auto scratch = ScratchFor(context, 4 * elements * context.device.threads);
  if (!scratch.ok()) return scratch.status();
  return MakeKernel([op, dtype, shape, product, block, elements, work = *scratch,
                     first = In(context, 0), second = In(context, 1), out = Out(context, 0),
                     run = HWY_DYNAMIC_DISPATCH(ConvBlockOf),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const int64_t down = (product.m + block.m - 1) / block.m;
    const int64_t across = (product.n + block.n - 1) / block.n;
    const int64_t tasks = product.count * down * across;
    ParallelFor(threads, tasks, GrainFor(tasks, block.m * block.n * product.k),
                [&](int64_t begin, int64_t end, int thread) {
                  for (int64_t i = begin; i < end; ++i) {
                    const int64_t matrix = i / (down * across);
                    run(dtype, op, shape, block,
                        {matrix / shape.window.groups, matrix % shape.window.groups,
                         i / across % down * block.m, i % across * block.n},
                        first.at<const void>(arguments), second.at<const void>(arguments),
                        out.at<void>(arguments), work.at<float>(arguments) + thread * elements);
                  }
                });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
