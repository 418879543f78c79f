// One maker per family of ops; cpu_kernels.cc maps ops to them.
#ifndef MOAI_WORKER_KERNELS_CPU_KERNEL_MAKERS_H_
#define MOAI_WORKER_KERNELS_CPU_KERNEL_MAKERS_H_

#include "worker/kernels/cpu/kernel_tools.h"

namespace moai {

// movement.cc
KernelOr MakeConcatKernel(const KernelContext& context);
KernelOr MakePadKernel(const KernelContext& context);
KernelOr MakeSliceUpdateKernel(const KernelContext& context);
// indexing.cc
KernelOr MakeIndexSelectKernel(const KernelContext& context);
KernelOr MakeIndexAddKernel(const KernelContext& context);
KernelOr MakeGatherKernel(const KernelContext& context);
KernelOr MakeScatterKernel(const KernelContext& context);
KernelOr MakeScatterAddKernel(const KernelContext& context);
// embedding.cc
KernelOr MakeEmbeddingKernel(const KernelContext& context);
KernelOr MakeEmbeddingGradKernel(const KernelContext& context);
// order.cc
KernelOr MakeCumsumKernel(const KernelContext& context);
KernelOr MakeSortKernel(const KernelContext& context);
KernelOr MakeArgExtremeKernel(const KernelContext& context);
// softmax.cc
KernelOr MakeSoftmaxKernel(const KernelContext& context);
// cross_entropy.cc
KernelOr MakeCrossEntropyKernel(const KernelContext& context);
// row_norm.cc
KernelOr MakeRowNormKernel(const KernelContext& context);
KernelOr MakeRowNormGradKernel(const KernelContext& context);
// channel_norm.cc
KernelOr MakeChannelNormKernel(const KernelContext& context);
KernelOr MakeChannelNormGradKernel(const KernelContext& context);
// rotary.cc
KernelOr MakeRotaryKernel(const KernelContext& context);
// matmul.cc
KernelOr MakeMatmulKernel(const KernelContext& context);
// conv.cc
KernelOr MakeConvKernel(const KernelContext& context);
// pool.cc
KernelOr MakePoolKernel(const KernelContext& context);
// unfold.cc
KernelOr MakeUnfoldKernel(const KernelContext& context);
KernelOr MakeFoldKernel(const KernelContext& context);
// attention.cc, attention_grad.cc
KernelOr MakeAttentionKernel(const KernelContext& context);
KernelOr MakeAttentionGradKernel(const KernelContext& context);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_KERNEL_MAKERS_H_
