// A Mixtral-style language model: a Llama block whose feed-forward part is a mixture of experts
// (Jiang et al., arXiv 2401.04088; client/nn/moe.h says how tokens get to their experts).
#ifndef MOAI_CLIENT_MODELS_MIXTRAL_H_
#define MOAI_CLIENT_MODELS_MIXTRAL_H_

#include <memory>
#include <vector>

#include "client/nn/attention.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/moe.h"
#include "client/nn/norm.h"

namespace moai::models {

struct MixtralConfig {
  int64_t vocabulary = 256;
  int64_t hidden = 128;
  int64_t ffn = 352;  // of one expert
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t sequence = 128;         // the longest input
  double capacity_factor = 1.25;  // tokens over an expert's capacity are dropped there
  int64_t group_size = 1024;
  double balance_weight = 0.01;  // of the layers' load-balancing losses in the loss
  double dropout = 0;
  double rotary_base = 1e6;
};

class MixtralBlock : public nn::Module {
 public:
  explicit MixtralBlock(const MixtralConfig& config);
  // x [batch, sequence, hidden].
  nn::MoeResult Forward(const Tensor& x, const nn::RotaryTables& rotary);

 private:
  nn::RmsNorm attention_norm_;
  nn::MultiHeadAttention attention_;
  nn::RmsNorm ffn_norm_;
  nn::MixtureOfExperts experts_;
  nn::Dropout dropout_;
};

class Mixtral : public nn::Module {
 public:
  struct Result {
    Tensor logits;        // [batch, sequence, vocabulary]
    Tensor balance_loss;  // the sum over the layers; rank 0
  };

  explicit Mixtral(const MixtralConfig& config);

  // ids [batch, sequence] (i32 or i64), at most config.sequence long.
  Result Forward(const Tensor& ids);
  // Mean cross-entropy of each next id, and the weighted load-balancing losses. ids, labels [batch,
  // sequence].
  Tensor Loss(const Tensor& ids, const Tensor& labels);

  const MixtralConfig& config() const { return config_; }

 private:
  MixtralConfig config_;
  nn::RotaryTables rotary_;
  nn::Embedding embedding_;
  std::vector<std::unique_ptr<MixtralBlock>> blocks_;
  nn::RmsNorm norm_;
  nn::Linear head_;
};

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_MIXTRAL_H_
