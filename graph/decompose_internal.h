// The decompositions, by family; not for others than the decompose*.cc files.
#ifndef MOAI_GRAPH_DECOMPOSE_INTERNAL_H_
#define MOAI_GRAPH_DECOMPOSE_INTERNAL_H_

#include "graph/formula.h"

namespace moai::decomposition {

// Each writes the formula of one op and its outputs.
using Writer = void (*)(Formula& f);

// decompose_simple.cc
void Silu(Formula& f);
void Gelu(Formula& f);
void Tril(Formula& f);
void Triu(Formula& f);
void SliceUpdate(Formula& f);
void Rotary(Formula& f);
void AdamW(Formula& f);

// decompose_softmax.cc
void Softmax(Formula& f);
void SoftmaxGrad(Formula& f);
void LogSoftmax(Formula& f);
void LogSoftmaxGrad(Formula& f);
void CrossEntropy(Formula& f);
void CrossEntropyGrad(Formula& f);

// decompose_norm.cc
void LayerNorm(Formula& f);
void LayerNormGrad(Formula& f);
void RmsNorm(Formula& f);
void RmsNormGrad(Formula& f);
void GroupNorm(Formula& f);
void GroupNormGrad(Formula& f);
void BatchNorm(Formula& f);
void BatchNormGrad(Formula& f);

// decompose_attention.cc
void Attention(Formula& f);
void AttentionGrad(Formula& f);

// decompose_conv.cc
void Conv2d(Formula& f);
void Conv2dGradInput(Formula& f);
void Conv2dGradWeight(Formula& f);
void MaxPool2d(Formula& f);
void MaxPool2dGrad(Formula& f);
void AvgPool2d(Formula& f);
void AvgPool2dGrad(Formula& f);

// decompose_embedding.cc
void Embedding(Formula& f);
void EmbeddingGrad(Formula& f);

}  // namespace moai::decomposition

#endif  // MOAI_GRAPH_DECOMPOSE_INTERNAL_H_
