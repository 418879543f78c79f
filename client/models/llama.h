// A Llama-style language model: RMSNorm before each part, rotary positions, grouped-query
// attention, SwiGLU, no biases (Touvron et al., arXiv 2302.13971 and 2307.09288).
#ifndef MOAI_CLIENT_MODELS_LLAMA_H_
#define MOAI_CLIENT_MODELS_LLAMA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "client/nn/attention.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"

namespace moai::models {

struct LlamaConfig {
  int64_t vocabulary = 256;
  int64_t hidden = 128;
  int64_t ffn = 352;
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t sequence = 128;  // the longest input
  double dropout = 0;
  double rotary_base = 10000;
  bool f32_logits = false;  // nn::CrossEntropyOptions::f32_logits
};

class LlamaBlock : public nn::Module {
 public:
  explicit LlamaBlock(const LlamaConfig& config);
  // x [batch, sequence, hidden].
  Tensor Forward(const Tensor& x, const nn::RotaryTables& rotary);

 private:
  nn::RmsNorm attention_norm_;
  nn::MultiHeadAttention attention_;
  nn::RmsNorm ffn_norm_;
  nn::Linear gate_;
  nn::Linear up_;
  nn::Linear down_;
  nn::Dropout dropout_;
};

class Llama : public nn::Module {
 public:
  explicit Llama(const LlamaConfig& config);

  // ids [batch, sequence] (i32 or i64), at most config.sequence long -> logits [batch, sequence,
  // vocabulary].
  Tensor Forward(const Tensor& ids);
  // Mean cross-entropy of each next id. ids, labels [batch, sequence].
  Tensor Loss(const Tensor& ids, const Tensor& labels);

  const LlamaConfig& config() const { return config_; }

 private:
  LlamaConfig config_;
  nn::RotaryTables rotary_;
  nn::Embedding embedding_;
  std::vector<std::unique_ptr<LlamaBlock>> blocks_;
  nn::RmsNorm norm_;
  nn::Linear head_;
};

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_LLAMA_H_
