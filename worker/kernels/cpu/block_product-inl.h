// Products of matrices of any size, in blocks that lie in cache: what the kernels use where no
// library takes the dtype. Operands are converted to the compute type block by block, so that the
// working space stays small whatever the sizes are, and each element is rounded once, at the end.
// See simd_math-inl.h for use.
//
// A sum runs over k in order, so the bits of a result depend on neither blocks nor threads.

#if defined(MOAI_WORKER_KERNELS_CPU_BLOCK_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_BLOCK_PRODUCT_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_BLOCK_PRODUCT_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_BLOCK_PRODUCT_INL_H_
#endif

#include <algorithm>
#include <utility>

#include "hwy/highway.h"
#include "program/workspace.h"
#include "worker/kernels/cpu/block_gemm-inl.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// A part of a matrix in memory: element (row, column) is at row * row_stride + column *
// column_stride.
template <class T>
struct MatrixPart {
  T* data;
  int64_t row_stride, column_stride;
};

// Converts rows x columns elements. Reads along memory where the source is dense in either
// direction.
template <class T, class C>
HWY_INLINE void ConvertPart(MatrixPart<const T> from, int64_t rows, int64_t columns,
                            MatrixPart<C> to) {
  if (from.column_stride != 1 && from.row_stride == 1) {
    std::swap(from.row_stride, from.column_stride);
    std::swap(to.row_stride, to.column_stride);
    std::swap(rows, columns);
  }
  constexpr int64_t kPiece = 256;
  for (int64_t r = 0; r < rows; ++r) {
    const T* line = from.data + r * from.row_stride;
    C* target = to.data + r * to.row_stride;
    if (from.column_stride != 1) {
      for (int64_t c = 0; c < columns; ++c) {
        target[c * to.column_stride] = static_cast<C>(line[c * from.column_stride]);
      }
      continue;
    }
    if (to.column_stride == 1) {
      ConvertRow(line, target, columns);
      continue;
    }
    for (int64_t begin = 0; begin < columns; begin += kPiece) {
      const int64_t count = std::min(kPiece, columns - begin);
      C piece[kPiece];
      ConvertRow(line + begin, piece, count);
      for (int64_t c = 0; c < count; ++c) target[(begin + c) * to.column_stride] = piece[c];
    }
  }
}

// Blocks of one thread, in its scratch. Rows of B and of C are `block.n` elements apart.
template <class C>
struct ProductBuffers {
  ProductBuffers(const ProductBlock& block, C* scratch)
      : a(scratch), b(a + block.m * block.k), c(b + block.k * block.n) {}

  C* a;
  C* b;
  C* c;
};

// buffers.c = A B for `rows` x `columns` of the result, summed over `depth` >= 1.
// read_a(k, count, to) puts columns [k, k + count) of the rows of A to `to`, in either order of
// the two, and returns them; read_b(k, count, to) puts rows [k, k + count) of B to `to`, by rows.
template <class C, class ReadA, class ReadB>
HWY_INLINE void MultiplyBlocks(const ProductBlock& block, int64_t rows, int64_t columns,
                               int64_t depth, const ProductBuffers<C>& buffers, const ReadA& read_a,
                               const ReadB& read_b) {
  for (int64_t k = 0; k < depth; k += block.k) {
    const int64_t count = std::min(block.k, depth - k);
    const MatrixPart<C> a = read_a(k, count, buffers.a);
    read_b(k, count, buffers.b);
    BlockGemm(BlockGemmArguments<C>{.m = rows,
                                    .n = columns,
                                    .k = count,
                                    .a = a.data,
                                    .a_row = a.row_stride,
                                    .a_column = a.column_stride,
                                    .b = buffers.b,
                                    .b_row = block.n,
                                    .c = buffers.c,
                                    .c_row = block.n,
                                    .accumulate = k > 0});
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_BLOCK_PRODUCT_INL_H_
