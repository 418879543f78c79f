#include "client/autograd/gradients.h"

namespace moai::gradients {
namespace {

template <size_t kCount>
void SetAll(GradientCall& call, const std::array<Tensor, kCount>& gradients) {
  for (size_t i = 0; i < kCount; ++i) call.Set(static_cast<int>(i), gradients[i]);
}

}  // namespace

// Of the ops below, gradients flow through the first output only: ops.h gives the statistics away
// without history.

void Softmax(GradientCall& call) {
  call.Set(0, RecordOp1(Op::kSoftmaxGrad, {call.Output(0), call.dy()}));
}

void LogSoftmax(GradientCall& call) {
  call.Set(0, RecordOp1(Op::kLogSoftmaxGrad, {call.Output(0), call.dy()}));
}

void LayerNorm(GradientCall& call) {
  SetAll(call, RecordOps<3>(Op::kLayerNormGrad, {call.Input(0), call.Input(1), call.Output(1),
                                                 call.Output(2), call.dy()}));
}

void RmsNorm(GradientCall& call) {
  SetAll(call,
         RecordOps<2>(Op::kRmsNormGrad, {call.Input(0), call.Input(1), call.Output(1), call.dy()}));
}

void GroupNorm(GradientCall& call) {
  SetAll(call,
         RecordOps<3>(Op::kGroupNormGrad,
                      {call.Input(0), call.Input(1), call.Output(1), call.Output(2), call.dy()}, {},
                      {}, call.extents()));
}

void BatchNorm(GradientCall& call) {
  SetAll(call,
         RecordOps<3>(Op::kBatchNormGrad,
                      {call.Input(0), call.Input(1), call.Output(1), call.Output(2), call.dy()}, {},
                      {}, {}, call.numbers()));
}

void Attention(GradientCall& call) {
  const Tensor q = call.Input(0), k = call.Input(1), v = call.Input(2);
  const Tensor o = call.Output(0), lse = call.Output(1);
  if (call.inputs() == 3) {
    SetAll(call, RecordOps<3>(Op::kAttentionGrad, {q, k, v, o, lse, call.dy()}, {},
                              call.attributes(), {}, call.numbers()));
    return;
  }
  SetAll(call, RecordOps<3>(Op::kAttentionGrad, {q, k, v, o, lse, call.dy(), call.Input(3)}, {},
                            call.attributes(), {}, call.numbers()));
}

// Cosines and sines are constants.
void Rotary(GradientCall& call) {
  const int32_t inverse[] = {1 - call.attributes()[0]};
  call.Set(0, RecordOp1(Op::kRotary, {call.dy(), call.Input(1), call.Input(2)}, {}, inverse));
}

void CrossEntropy(GradientCall& call) {
  call.Set(
      0, RecordOp1(Op::kCrossEntropyGrad, {call.Input(0), call.Input(1), call.Output(1), call.dy()},
                   {}, call.attributes()));
}

}  // namespace moai::gradients
