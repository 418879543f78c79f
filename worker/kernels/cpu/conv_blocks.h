// conv2d and its gradients in blocks of f32.
#ifndef MOAI_WORKER_KERNELS_CPU_CONV_BLOCKS_H_
#define MOAI_WORKER_KERNELS_CPU_CONV_BLOCKS_H_

#include "worker/kernels/cpu/conv_shape.h"
#include "worker/kernels/cpu/kernel_tools.h"

namespace moai {

// For f32 and bf16 where the library does not take a convolution (of bf16 on processors without
// AVX-512, or one that would need more scratch than a program gives), and for f16. No extent of
// `shape` is 0.
KernelOr MakeConvBlocksKernel(const KernelContext& context, const ConvShape& shape);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_CONV_BLOCKS_H_
