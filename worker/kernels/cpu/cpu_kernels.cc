#include "worker/kernels/cpu/cpu_kernels.h"

#include "absl/strings/str_cat.h"
#include "graph/op.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/tile_kernel.h"

namespace moai {
namespace {

using Maker = KernelOr (*)(const KernelContext&);

Maker MakerFor(Op op) {
  switch (op) {
    case Op::kConcat:
      return MakeConcatKernel;
    case Op::kPad:
      return MakePadKernel;
    case Op::kSliceUpdate:
      return MakeSliceUpdateKernel;
    case Op::kIndexSelect:
      return MakeIndexSelectKernel;
    case Op::kIndexAdd:
      return MakeIndexAddKernel;
    case Op::kGather:
      return MakeGatherKernel;
    case Op::kScatter:
      return MakeScatterKernel;
    case Op::kScatterAdd:
      return MakeScatterAddKernel;
    case Op::kEmbedding:
      return MakeEmbeddingKernel;
    case Op::kEmbeddingGrad:
      return MakeEmbeddingGradKernel;
    case Op::kCumsum:
      return MakeCumsumKernel;
    case Op::kSort:
    case Op::kTopK:
      return MakeSortKernel;
    case Op::kArgmax:
    case Op::kArgmin:
      return MakeArgExtremeKernel;
    case Op::kSoftmax:
    case Op::kSoftmaxGrad:
    case Op::kLogSoftmax:
    case Op::kLogSoftmaxGrad:
      return MakeSoftmaxKernel;
    case Op::kCrossEntropy:
    case Op::kCrossEntropyGrad:
      return MakeCrossEntropyKernel;
    case Op::kLayerNorm:
    case Op::kRmsNorm:
      return MakeRowNormKernel;
    case Op::kLayerNormGrad:
    case Op::kRmsNormGrad:
      return MakeRowNormGradKernel;
    case Op::kGroupNorm:
    case Op::kBatchNorm:
      return MakeChannelNormKernel;
    case Op::kGroupNormGrad:
    case Op::kBatchNormGrad:
      return MakeChannelNormGradKernel;
    case Op::kRotary:
      return MakeRotaryKernel;
    case Op::kMatmul:
      return MakeMatmulKernel;
    case Op::kConv2d:
    case Op::kConv2dGradInput:
    case Op::kConv2dGradWeight:
      return MakeConvKernel;
    case Op::kMaxPool2d:
    case Op::kMaxPool2dGrad:
    case Op::kAvgPool2d:
    case Op::kAvgPool2dGrad:
      return MakePoolKernel;
    case Op::kUnfold:
      return MakeUnfoldKernel;
    case Op::kFold:
      return MakeFoldKernel;
    case Op::kAttention:
      return MakeAttentionKernel;
    case Op::kAttentionGrad:
      return MakeAttentionGradKernel;
    default:
      return nullptr;
  }
}

// Whether a kernel would neither write an element nor look at an index. The other extents of such
// tensors may be as large as a client likes, and no kernel's loops should run over them.
bool DoesNothing(const Instruction& instruction) {
  for (const Operand& output : instruction.outputs) {
    if (output.shape.elements() > 0) return false;
  }
  return !IsChecked(instruction.op) ||
         instruction.inputs[Entry(instruction.op).checked_input].shape.elements() == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeCpuKernel(const Program& program, uint32_t index,
                                                      const DeviceShape& device) {
  const Instruction& instruction = program.instructions[index];
  if (instruction.fused >= 0) return MakeTileKernel(program, index, device);
  if (IsValid(instruction.op) && IsCollective(instruction.op)) {
    return absl::UnimplementedError(
        absl::StrCat(Name(instruction.op),
                     " exchanges elements with other devices: this device has no links to them"));
  }
  const Maker maker = MakerFor(instruction.op);
  if (maker == nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        "no CPU kernel for ", IsValid(instruction.op) ? Name(instruction.op) : "a copy",
        ": the compiler must fuse it"));
  }
  KernelOr kernel = maker({program, index, instruction, device});
  if (kernel.ok() && DoesNothing(instruction)) return MakeKernel([](const KernelArguments&) {});
  return kernel;
}

}  // namespace moai
