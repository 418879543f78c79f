// A matmul as its kernels see it: matrices with strides, over one batch dim.
#ifndef MOAI_WORKER_KERNELS_CPU_MATMUL_SHAPE_H_
#define MOAI_WORKER_KERNELS_CPU_MATMUL_SHAPE_H_

#include <cstdint>

namespace moai {

// A matrix of each batch element: element (batch, row, column) is at the sum of position * stride.
struct Matrix {
  int64_t rows, columns;
  int64_t batch_stride, row_stride, column_stride;
};

struct MatmulShape {
  int64_t batch = 1;
  int64_t m, n, k;
  Matrix a, b, c;

  bool empty() const { return batch == 0 || m == 0 || n == 0; }
};

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_MATMUL_SHAPE_H_
