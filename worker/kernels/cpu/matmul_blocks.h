// matmul of 16-bit floats in blocks of f32.
#ifndef MOAI_WORKER_KERNELS_CPU_MATMUL_BLOCKS_H_
#define MOAI_WORKER_KERNELS_CPU_MATMUL_BLOCKS_H_

#include "worker/kernels/cpu/kernel_tools.h"
#include "worker/kernels/cpu/matmul_shape.h"

namespace moai {

// For bf16 where the library has no product of it (processors without AVX-512), and for f16.
// `shape` is not empty and its k not 0.
KernelOr MakeMatmulBlocksKernel(const KernelContext& context, const MatmulShape& shape);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_MATMUL_BLOCKS_H_
