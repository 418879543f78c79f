// Runs along one row of sliding windows, shared by convolution, pooling, unfold and fold.
#ifndef MOAI_WORKER_KERNELS_CPU_WINDOW_ROWS_H_
#define MOAI_WORKER_KERNELS_CPU_WINDOW_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "graph/window.h"
#include "worker/kernels/cpu/float_types.h"

namespace moai {

// How many elements of a row kernels sum at a time, in a buffer on the stack.
inline constexpr int64_t kRowChunk = 256;

// Half-open.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};

inline int64_t FloorDivide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
inline int64_t CeilDivide(int64_t a, int64_t b) { return -FloorDivide(-a, b); }

// Window positions o in [0, outputs) whose element `k` lies in `inputs`.
inline Range OutputsTouching(const WindowAxis& axis, int64_t k, int64_t outputs, Range inputs) {
  const int64_t offset = k * axis.dilation - axis.low;
  const int64_t begin = std::max<int64_t>(0, CeilDivide(inputs.begin - offset, axis.stride));
  const int64_t end = std::min(outputs, FloorDivide(inputs.end - 1 - offset, axis.stride) + 1);
  return {begin, std::max(begin, end)};
}

// Input position of element `k` of window `output`.
inline int64_t InputOf(const WindowAxis& axis, int64_t output, int64_t k) {
  return output * axis.stride + k * axis.dilation - axis.low;
}

// The window whose element `k` is at `input`, or -1.
inline int64_t OutputOf(const WindowAxis& axis, int64_t input, int64_t k, int64_t outputs) {
  const int64_t distance = input + axis.low - k * axis.dilation;
  if (distance < 0 || distance % axis.stride != 0) return -1;
  const int64_t output = distance / axis.stride;
  return output < outputs ? output : -1;
}

// sums[o - chunk.begin] += weight * row[InputOf(o, k)] for the outputs of a chunk that are inside.
template <class C, class T>
void AddInputs(const WindowAxis& axis, int64_t k, int64_t extent, Range chunk, C weight,
               const T* row, C* sums) {
  Range o = OutputsTouching(axis, k, chunk.end, {0, extent});
  o.begin = std::max(o.begin, chunk.begin);
  const int64_t offset = k * axis.dilation - axis.low;
  for (int64_t i = o.begin; i < o.end; ++i) {
    sums[i - chunk.begin] += weight * static_cast<C>(row[i * axis.stride + offset]);
  }
}

// sums[InputOf(o, k) - chunk.begin] += weight * row[o] for the inputs of a chunk.
template <class C, class T>
void AddOutputs(const WindowAxis& axis, int64_t k, int64_t outputs, Range chunk, C weight,
                const T* row, C* sums) {
  const Range o = OutputsTouching(axis, k, outputs, chunk);
  const int64_t offset = k * axis.dilation - axis.low - chunk.begin;
  for (int64_t i = o.begin; i < o.end; ++i) {
    sums[i * axis.stride + offset] += weight * static_cast<C>(row[i]);
  }
}

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_WINDOW_ROWS_H_
