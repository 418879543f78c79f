// The gradient functions, by family; listed in gradient_rule.cc. What each computes follows from
// the op's meaning in graph/op_table.def.
#ifndef MOAI_CLIENT_AUTOGRAD_GRADIENTS_H_
#define MOAI_CLIENT_AUTOGRAD_GRADIENTS_H_

#include "client/autograd/gradient_call.h"

namespace moai::gradients {

// gradients_pointwise.cc
void Neg(GradientCall& call);
void Abs(GradientCall& call);
void Exp(GradientCall& call);
void Expm1(GradientCall& call);
void Log(GradientCall& call);
void Log1p(GradientCall& call);
void Sqrt(GradientCall& call);
void Rsqrt(GradientCall& call);
void Reciprocal(GradientCall& call);
void Sin(GradientCall& call);
void Cos(GradientCall& call);
void Tanh(GradientCall& call);
void Erf(GradientCall& call);
void Sigmoid(GradientCall& call);
void Relu(GradientCall& call);
void Silu(GradientCall& call);
void Gelu(GradientCall& call);
void Cast(GradientCall& call);
void Add(GradientCall& call);
void Sub(GradientCall& call);
void Mul(GradientCall& call);
void Div(GradientCall& call);
void Mod(GradientCall& call);
void Pow(GradientCall& call);
void Maximum(GradientCall& call);
void Minimum(GradientCall& call);
void Select(GradientCall& call);
void Clamp(GradientCall& call);

// gradients_movement.cc
void Reshape(GradientCall& call);
void Transpose(GradientCall& call);
void Broadcast(GradientCall& call);
void Slice(GradientCall& call);
void Flip(GradientCall& call);
void SliceUpdate(GradientCall& call);
void Pad(GradientCall& call);
void Concat(GradientCall& call);
void Fill(GradientCall& call);
void Tril(GradientCall& call);
void Triu(GradientCall& call);

// gradients_reduction.cc
void ReduceSum(GradientCall& call);
void ReduceMean(GradientCall& call);
void ReduceExtreme(GradientCall& call);
void ReduceProd(GradientCall& call);
void Cumsum(GradientCall& call);
void Sort(GradientCall& call);

// gradients_contraction.cc
void Matmul(GradientCall& call);
void Conv2d(GradientCall& call);
void Unfold(GradientCall& call);
void Fold(GradientCall& call);
void MaxPool2d(GradientCall& call);
void AvgPool2d(GradientCall& call);

// gradients_whole.cc
void Softmax(GradientCall& call);
void LogSoftmax(GradientCall& call);
void LayerNorm(GradientCall& call);
void RmsNorm(GradientCall& call);
void GroupNorm(GradientCall& call);
void BatchNorm(GradientCall& call);
void Attention(GradientCall& call);
void Rotary(GradientCall& call);
void CrossEntropy(GradientCall& call);

// gradients_indexed.cc
void Embedding(GradientCall& call);
void IndexSelect(GradientCall& call);
void IndexAdd(GradientCall& call);
void Gather(GradientCall& call);
void Scatter(GradientCall& call);
void ScatterAdd(GradientCall& call);

}  // namespace moai::gradients

#endif  // MOAI_CLIENT_AUTOGRAD_GRADIENTS_H_
