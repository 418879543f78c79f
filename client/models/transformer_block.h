// A block of a transformer with LayerNorm before each part (Radford et al., "Language Models are
// Unsupervised Multitask Learners"; Dosovitskiy et al., arXiv 2010.11929): attention, then a
// feed-forward part of two layers. GPT and ViT are made of it.
#ifndef MOAI_CLIENT_MODELS_TRANSFORMER_BLOCK_H_
#define MOAI_CLIENT_MODELS_TRANSFORMER_BLOCK_H_

#include <cstdint>

#include "client/nn/attention.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"

namespace moai::models {

enum class FeedForwardActivation : uint8_t {
  kGelu,         // exact (erf)
  kSquaredRelu,  // max(x, 0)^2 (So et al., arXiv 2109.08668)
};

struct TransformerBlockConfig {
  int64_t hidden = 0;
  int64_t ffn = 0;
  int64_t heads = 1;
  int64_t kv_heads = 0;  // 0: as many as heads
  bool causal = false;
  bool bias = true;
  FeedForwardActivation activation = FeedForwardActivation::kGelu;
  double dropout = 0;
  double norm_eps = 1e-5;
  bool fused_attention = true;   // nn::AttentionConfig::fused
  double attention_dropout = 0;  // where not fused
};

class TransformerBlock : public nn::Module {
 public:
  explicit TransformerBlock(const TransformerBlockConfig& config);
  // x [batch, sequence, hidden]. `rotary` may be null.
  Tensor Forward(const Tensor& x, const nn::RotaryTables* rotary = nullptr);

 private:
  FeedForwardActivation activation_;
  nn::LayerNorm attention_norm_;
  nn::MultiHeadAttention attention_;
  nn::LayerNorm ffn_norm_;
  nn::Linear up_;
  nn::Linear down_;
  nn::Dropout dropout_;
};

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_TRANSFORMER_BLOCK_H_
