#include "graph/testing/conditioning.h"

namespace moai {

bool CopiesElements(Op op) {
  switch (op) {
    case Op::kSliceUpdate:
    case Op::kPad:
    case Op::kConcat:
    case Op::kTril:
    case Op::kTriu:
    case Op::kSelect:
    case Op::kNeg:
    case Op::kAbs:
    case Op::kRelu:
    case Op::kMaximum:
    case Op::kMinimum:
    case Op::kClamp:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kMaxPool2d:
    case Op::kUnfold:
    case Op::kGather:
    case Op::kIndexSelect:
    case Op::kEmbedding:
    case Op::kScatter:
    case Op::kFill:
    case Op::kIota:
      return true;
    default:
      return Entry(op).op_class == OpClass::kView;
  }
}

bool IsGentle(Op op) {
  switch (op) {
    case Op::kSin:
    case Op::kCos:
    case Op::kTanh:
    case Op::kErf:
    case Op::kSigmoid:
    case Op::kSilu:
    case Op::kGelu:
    case Op::kAdd:
    case Op::kSub:
    case Op::kSoftmax:
    case Op::kAttention:
    case Op::kRotary:
    case Op::kAvgPool2d:
    case Op::kReduceMean:
      return true;
    default:
      return CopiesElements(op);
  }
}

bool IsSmooth(Op op) {
  switch (op) {
    case Op::kMul:
    case Op::kExp:
    case Op::kExpm1:
    case Op::kReduceSum:
    case Op::kCumsum:
    case Op::kMatmul:
    case Op::kConv2d:
    case Op::kConv2dGradInput:
    case Op::kConv2dGradWeight:
    case Op::kFold:
    case Op::kAvgPool2dGrad:
    case Op::kSoftmaxGrad:
    case Op::kLogSoftmax:
    case Op::kLogSoftmaxGrad:
    case Op::kEmbeddingGrad:
    case Op::kIndexAdd:
    case Op::kScatterAdd:
      return true;
    default:
      return IsGentle(op);
  }
}

bool NeedsOwnInput(Op op, size_t position) {
  switch (op) {
    case Op::kEmbedding:
    case Op::kIndexSelect:
    case Op::kIndexAdd:
    case Op::kGather:
    case Op::kScatter:
    case Op::kScatterAdd:
    case Op::kCrossEntropy:
      return position == 1;
    case Op::kClamp:
      return position >= 1;
    case Op::kEmbeddingGrad:
      return position == 0;
    case Op::kAttention:
      return position == 3;  // a mask
    case Op::kAttentionGrad:
    case Op::kCrossEntropyGrad:
    case Op::kMaxPool2dGrad:
    case Op::kLayerNormGrad:
    case Op::kRmsNormGrad:
    case Op::kGroupNormGrad:
    case Op::kBatchNormGrad:
    case Op::kAdamW:
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      return true;
    default:
      return false;
  }
}

}  // namespace moai
