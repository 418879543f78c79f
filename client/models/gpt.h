// A GPT-style language model: learned positions, LayerNorm before each part, GELU, biases, and a
// head that shares the embedding (Brown et al., arXiv 2005.14165). Options cover its descendants
// with rotary positions, grouped heads, squared ReLU and no biases (Nemotron-4, arXiv 2402.16819).
#ifndef MOAI_CLIENT_MODELS_GPT_H_
#define MOAI_CLIENT_MODELS_GPT_H_

#include <memory>
#include <vector>

#include "client/models/transformer_block.h"
#include "client/nn/attention.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"

namespace moai::models {

struct GptConfig {
  int64_t vocabulary = 256;
  int64_t hidden = 128;
  int64_t ffn = 0;  // 0: 4 hidden
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t kv_heads = 0;    // 0: as many as heads
  int64_t sequence = 128;  // the longest input
  double dropout = 0;      // of embeddings and of each part's result
  bool bias = true;
  bool tied_head = true;
  bool rotary = false;  // in place of learned positions
  FeedForwardActivation activation = FeedForwardActivation::kGelu;
  // Before there were fused kernels, attention was made of products and a softmax, with dropout
  // between them (nn::AttentionConfig::fused).
  bool fused_attention = true;
  double attention_dropout = 0;  // where not fused
  bool f32_logits = false;       // nn::CrossEntropyOptions::f32_logits
};

class Gpt : public nn::Module {
 public:
  explicit Gpt(const GptConfig& config);

  // ids [batch, sequence] (i32 or i64), at most config.sequence long -> logits [batch, sequence,
  // vocabulary].
  Tensor Forward(const Tensor& ids);
  // Mean cross-entropy of each next id. ids, labels [batch, sequence].
  Tensor Loss(const Tensor& ids, const Tensor& labels);

  const GptConfig& config() const { return config_; }

 private:
  Tensor AddPositions(const Tensor& x);

  GptConfig config_;
  nn::Embedding embedding_;
  Tensor positions_;  // [sequence, hidden]; undefined with rotary positions
  nn::RotaryTables rotary_;
  nn::Dropout dropout_;
  std::vector<std::unique_ptr<TransformerBlock>> blocks_;
  nn::LayerNorm norm_;
  std::unique_ptr<nn::Linear> head_;  // null where it is tied
};

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_GPT_H_
