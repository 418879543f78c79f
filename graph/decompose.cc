#include "graph/decompose.h"

#include "absl/strings/str_cat.h"
#include "graph/decompose_internal.h"

namespace moai {
namespace {

// The one list of ops that are defined by a decomposition; null for the primitives.
decomposition::Writer WriterOf(Op op) {
  using namespace decomposition;
  switch (op) {
    case Op::kSilu:
      return Silu;
    case Op::kGelu:
      return Gelu;
    case Op::kSliceUpdate:
      return SliceUpdate;
    case Op::kTril:
      return Tril;
    case Op::kTriu:
      return Triu;
    case Op::kConv2d:
      return Conv2d;
    case Op::kConv2dGradInput:
      return Conv2dGradInput;
    case Op::kConv2dGradWeight:
      return Conv2dGradWeight;
    case Op::kMaxPool2d:
      return MaxPool2d;
    case Op::kMaxPool2dGrad:
      return MaxPool2dGrad;
    case Op::kAvgPool2d:
      return AvgPool2d;
    case Op::kAvgPool2dGrad:
      return AvgPool2dGrad;
    case Op::kSoftmax:
      return Softmax;
    case Op::kSoftmaxGrad:
      return SoftmaxGrad;
    case Op::kLogSoftmax:
      return LogSoftmax;
    case Op::kLogSoftmaxGrad:
      return LogSoftmaxGrad;
    case Op::kLayerNorm:
      return LayerNorm;
    case Op::kLayerNormGrad:
      return LayerNormGrad;
    case Op::kRmsNorm:
      return RmsNorm;
    case Op::kRmsNormGrad:
      return RmsNormGrad;
    case Op::kGroupNorm:
      return GroupNorm;
    case Op::kGroupNormGrad:
      return GroupNormGrad;
    case Op::kBatchNorm:
      return BatchNorm;
    case Op::kBatchNormGrad:
      return BatchNormGrad;
    case Op::kAttention:
      return Attention;
    case Op::kAttentionGrad:
      return AttentionGrad;
    case Op::kRotary:
      return Rotary;
    case Op::kEmbedding:
      return Embedding;
    case Op::kEmbeddingGrad:
      return EmbeddingGrad;
    case Op::kCrossEntropy:
      return CrossEntropy;
    case Op::kCrossEntropyGrad:
      return CrossEntropyGrad;
    case Op::kAdamW:
      return AdamW;
    default:
      return nullptr;
  }
}

}  // namespace

bool HasDecomposition(Op op) { return WriterOf(op) != nullptr; }

absl::StatusOr<Decomposition> Decompose(const Node& node, absl::Span<const ValueId> inputs,
                                        absl::Span<const int64_t> extents, GraphBuilder& builder) {
  const decomposition::Writer write = WriterOf(node.op);
  if (write == nullptr) {
    return absl::UnimplementedError(absl::StrCat(Name(node.op), ": has no decomposition"));
  }
  decomposition::Formula formula(node, inputs, extents, builder);
  write(formula);
  return formula.Finish();
}

}  // namespace moai
