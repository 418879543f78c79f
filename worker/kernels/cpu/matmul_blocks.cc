// matmul of 16-bit floats: blocks of the operands are converted to f32, multiplied and summed
// there, and each element of the result is rounded once.
#include "worker/kernels/cpu/matmul_blocks.h"

#include <algorithm>

#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/matmul_blocks.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/block_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// The block of C at (row, column) of one batch element.
template <class T>
void MatmulBlock(const MatmulShape& s, const ProductBlock& block, const T* a, const T* b, T* c,
                 int64_t row, int64_t column, float* scratch) {
  const int64_t rows = std::min(block.m, s.m - row), columns = std::min(block.n, s.n - column);
  const ProductBuffers<float> buffers(block, scratch);
  const bool a_by_columns = s.a.column_stride != 1;
  MultiplyBlocks(
      block, rows, columns, s.k, buffers,
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        const MatrixPart<float> part =
            a_by_columns ? MatrixPart<float>{to, 1, block.m} : MatrixPart<float>{to, block.k, 1};
        const T* from = a + row * s.a.row_stride + k * s.a.column_stride;
        ConvertPart<T, float>({from, s.a.row_stride, s.a.column_stride}, rows, count, part);
        return part;
      },
      [&](int64_t k, int64_t count, float* to) HWY_ATTR {
        const T* from = b + k * s.b.row_stride + column * s.b.column_stride;
        ConvertPart<T, float>({from, s.b.row_stride, s.b.column_stride}, count, columns,
                              {to, block.n, 1});
      });
  for (int64_t r = 0; r < rows; ++r) {
    ConvertRow(buffers.c + r * block.n, c + (row + r) * s.c.row_stride + column, columns);
  }
}

void MatmulBlockOf(Dtype dtype, const MatmulShape& s, const ProductBlock& block, const void* a,
                   const void* b, void* c, int64_t batch, int64_t row, int64_t column,
                   float* scratch) {
  const auto run = [&](auto tag) HWY_ATTR {
    using T = typename decltype(tag)::type;
    MatmulBlock(s, block, static_cast<const T*>(a) + batch * s.a.batch_stride,
                static_cast<const T*>(b) + batch * s.b.batch_stride,
                static_cast<T*>(c) + batch * s.c.batch_stride, row, column, scratch);
  };
  if (dtype == Dtype::kBF16) {
    run(TypeTag<BFloat16>{});
  } else {
    run(TypeTag<Float16>{});
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
HWY_EXPORT(MatmulBlockOf);

KernelOr MakeMatmulBlocksKernel(const KernelContext& context, const MatmulShape& shape) {
  const Dtype dtype = context.input_dtype(0);
  if (ByteSize(dtype) != 2) return UnsupportedTypes(context);
  const ProductBlock block = BlockOfProduct(shape.m, shape.n, shape.k);
  const int64_t elements = block.elements();
  auto scratch = ScratchFor(context, 4 * elements * context.device.threads);
  if (!scratch.ok()) return scratch.status();
  return MakeKernel([shape, block, elements, dtype, work = *scratch, a = In(context, 0),
                     b = In(context, 1), c = Out(context, 0),
                     multiply = HWY_DYNAMIC_DISPATCH(MatmulBlockOf),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const int64_t down = (shape.m + block.m - 1) / block.m;
    const int64_t across = (shape.n + block.n - 1) / block.n;
    const int64_t blocks = shape.batch * down * across;
    ParallelFor(threads, blocks, GrainFor(blocks, block.m * block.n * shape.k),
                [&](int64_t begin, int64_t end, int thread) {
                  for (int64_t i = begin; i < end; ++i) {
                    multiply(dtype, shape, block, a.at<const void>(arguments),
                             b.at<const void>(arguments), c.at<void>(arguments),
                             i / (down * across), i / across % down * block.m, i % across * block.n,
                             work.at<float>(arguments) + thread * elements);
                  }
                });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
