// max_pool2d, avg_pool2d and their gradients. Planes are dealt out; each belongs to one thread.
#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/cpu/window_rows.h"

namespace moai {
namespace {

struct PoolShape {
  Window window;
  int64_t planes, h, w;  // input
  int64_t oh, ow;        // output
};

PoolShape MakeShape(const Shape& x, const Shape& y, absl::Span<const int64_t> extents) {
  return {PoolWindow(extents), x[0] * x[1], x[2], x[3], y[2], y[3]};
}

// Position in the plane of a window's first maximum (NaN counts as one), or -1 if it holds nothing
// but padding.
template <class T>
int64_t FirstMaximum(const PoolShape& s, const T* plane, int64_t oy, int64_t ox) {
  int64_t best = -1;
  for (int64_t p = 0; p < s.window.h.size; ++p) {
    const int64_t iy = InputOf(s.window.h, oy, p);
    if (iy < 0 || iy >= s.h) continue;
    for (int64_t q = 0; q < s.window.w.size; ++q) {
      const int64_t ix = InputOf(s.window.w, ox, q);
      if (ix < 0 || ix >= s.w) continue;
      const int64_t at = iy * s.w + ix;
      const auto value = static_cast<ComputeType<T>>(plane[at]);
      if (best < 0) {
        best = at;
        continue;
      }
      const auto maximum = static_cast<ComputeType<T>>(plane[best]);
      if (!std::isnan(maximum) && (std::isnan(value) || value > maximum)) best = at;
    }
  }
  return best;
}

template <class T>
void MaxPlane(const PoolShape& s, const T* x, T* y) {
  for (int64_t oy = 0; oy < s.oh; ++oy) {
    for (int64_t ox = 0; ox < s.ow; ++ox) {
      const int64_t at = FirstMaximum(s, x, oy, ox);
      y[oy * s.ow + ox] = at >= 0 ? x[at] : T(-std::numeric_limits<ComputeType<T>>::infinity());
    }
  }
}

// `sums` is a plane of the compute type; for f32 and f64 the output itself.
template <class T>
void MaxGradPlane(const PoolShape& s, const T* x, const T* dy, T* dx, ComputeType<T>* sums) {
  std::fill_n(sums, s.h * s.w, ComputeType<T>{0});
  for (int64_t oy = 0; oy < s.oh; ++oy) {
    for (int64_t ox = 0; ox < s.ow; ++ox) {
      const int64_t at = FirstMaximum(s, x, oy, ox);
      if (at >= 0) sums[at] += static_cast<ComputeType<T>>(dy[oy * s.ow + ox]);
    }
  }
  if constexpr (!std::is_same_v<T, ComputeType<T>>) {
    for (int64_t i = 0; i < s.h * s.w; ++i) dx[i] = T(sums[i]);
  }
}

template <class T>
void AveragePlane(const PoolShape& s, const T* x, T* y) {
  using C = ComputeType<T>;
  const C count = static_cast<C>(s.window.h.size * s.window.w.size);
  for (int64_t oy = 0; oy < s.oh; ++oy) {
    for (int64_t x0 = 0; x0 < s.ow; x0 += kRowChunk) {
      const Range chunk{x0, std::min(s.ow, x0 + kRowChunk)};
      C sums[kRowChunk] = {};
      for (int64_t p = 0; p < s.window.h.size; ++p) {
        const int64_t iy = InputOf(s.window.h, oy, p);
        if (iy < 0 || iy >= s.h) continue;
        for (int64_t q = 0; q < s.window.w.size; ++q) {
          AddInputs(s.window.w, q, s.w, chunk, C{1}, x + iy * s.w, sums);
        }
      }
      for (int64_t i = chunk.begin; i < chunk.end; ++i) y[oy * s.ow + i] = T(sums[i - x0] / count);
    }
  }
}

template <class T>
void AverageGradPlane(const PoolShape& s, const T* dy, T* dx) {
  using C = ComputeType<T>;
  const C count = static_cast<C>(s.window.h.size * s.window.w.size);
  for (int64_t iy = 0; iy < s.h; ++iy) {
    for (int64_t x0 = 0; x0 < s.w; x0 += kRowChunk) {
      const Range chunk{x0, std::min(s.w, x0 + kRowChunk)};
      C sums[kRowChunk] = {};
      for (int64_t p = 0; p < s.window.h.size; ++p) {
        const int64_t oy = OutputOf(s.window.h, iy, p, s.oh);
        if (oy < 0) continue;
        for (int64_t q = 0; q < s.window.w.size; ++q) {
          AddOutputs(s.window.w, q, s.ow, chunk, C{1}, dy + oy * s.ow, sums);
        }
      }
      for (int64_t i = chunk.begin; i < chunk.end; ++i) dx[iy * s.w + i] = T(sums[i - x0] / count);
    }
  }
}

}  // namespace

KernelOr MakePoolKernel(const KernelContext& context) {
  const Op op = context.instruction.op;
  const absl::Span<const int64_t> extents = context.instruction.extents;
  const Shape& in_shape = context.input_shape(0);
  const Shape& out_shape = context.output_shape(0);
  const PoolShape shape = op == Op::kMaxPool2dGrad
                              ? MakeShape(in_shape, context.input_shape(1), extents)
                          : op == Op::kAvgPool2dGrad ? MakeShape(out_shape, in_shape, extents)
                                                     : MakeShape(in_shape, out_shape, extents);
  const bool narrow = op == Op::kMaxPool2dGrad && ByteSize(context.input_dtype(0)) == 2;
  auto scratch = ScratchFor(context, narrow ? 4 * context.device.threads * shape.h * shape.w : 0);
  if (!scratch.ok()) return scratch.status();
  KernelOr kernel = UnsupportedTypes(context);
  VisitFloat(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using C = ComputeType<T>;
    kernel = MakeKernel([=, work = *scratch, first = In(context, 0),
                         dy = op == Op::kMaxPool2dGrad ? In(context, 2) : Address{},
                         out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = first.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const int64_t in_plane = shape.h * shape.w, out_plane = shape.oh * shape.ow;
      const int64_t cost = in_plane + out_plane * shape.window.h.size * shape.window.w.size;
      ParallelFor(threads, shape.planes, GrainFor(shape.planes, cost),
                  [&](int64_t begin, int64_t end, int thread) {
                    for (int64_t plane = begin; plane < end; ++plane) {
                      if (op == Op::kMaxPool2d) {
                        MaxPlane(shape, from + plane * in_plane, to + plane * out_plane);
                      } else if (op == Op::kAvgPool2d) {
                        AveragePlane(shape, from + plane * in_plane, to + plane * out_plane);
                      } else if (op == Op::kAvgPool2dGrad) {
                        AverageGradPlane(shape, from + plane * out_plane, to + plane * in_plane);
                      } else {
                        T* dx = to + plane * in_plane;
                        C* sums;
                        if constexpr (std::is_same_v<T, C>) {
                          sums = dx;
                        } else {
                          sums = work.at<C>(arguments) + thread * in_plane;
                        }
                        MaxGradPlane(shape, from + plane * in_plane,
                                     dy.at<const T>(arguments) + plane * out_plane, dx, sums);
                      }
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
