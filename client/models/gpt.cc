#include "client/models/gpt.h"

#include "absl/strings/str_cat.h"
#include "client/nn/loss.h"
#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr double kInitStddev = 0.02;

// The first `length` rows; the table itself where that is all of them.
Tensor FirstRows(const Tensor& table, int64_t length) {
  return length == table.size(0) ? table : table.Narrow(0, 0, length);
}

}  // namespace

Gpt::Gpt(const GptConfig& config)
    : config_(config),
      embedding_(config.vocabulary, config.hidden, {.init_stddev = kInitStddev}),
      dropout_(config.dropout),
      norm_(config.hidden) {
  RegisterModule("embedding", embedding_);
  if (config.rotary) {
    // Tables of constants: kept by the session, not part of what is saved.
    rotary_ = nn::MakeRotaryTables(config.sequence, config.hidden / config.heads);
    rotary_.cosine.MakeState();
    rotary_.sine.MakeState();
  } else {
    positions_ =
        RegisterParameter("positions", Mul(Normal({config.sequence, config.hidden}), kInitStddev));
  }
  RegisterModule("dropout", dropout_);
  const TransformerBlockConfig block = {.hidden = config.hidden,
                                        .ffn = config.ffn > 0 ? config.ffn : 4 * config.hidden,
                                        .heads = config.heads,
                                        .kv_heads = config.kv_heads,
                                        .causal = true,
                                        .bias = config.bias,
                                        .activation = config.activation,
                                        .dropout = config.dropout,
                                        .fused_attention = config.fused_attention,
                                        .attention_dropout = config.attention_dropout};
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(std::make_unique<TransformerBlock>(block));
    RegisterModule(absl::StrCat("blocks.", i), *blocks_.back());
  }
  RegisterModule("norm", norm_);
  if (config.tied_head) {
    RegisterShared("head.weight", embedding_.weight());
  } else {
    head_ =
        std::make_unique<nn::Linear>(config.hidden, config.vocabulary,
                                     nn::LinearOptions{.bias = false, .init_stddev = kInitStddev});
    RegisterModule("head", *head_);
  }
}

Tensor Gpt::AddPositions(const Tensor& x) {
  if (config_.rotary || !x.ok()) return x;
  return x + FirstRows(positions_, x.size(1)).To(x.dtype());
}

Tensor Gpt::Forward(const Tensor& ids) {
  const int64_t length = ids.rank() == 2 ? ids.size(1) : 0;
  nn::RotaryTables rotary;
  if (config_.rotary) {
    rotary = {FirstRows(rotary_.cosine, length), FirstRows(rotary_.sine, length)};
  }
  Tensor x = dropout_(AddPositions(embedding_(ids)));
  for (const std::unique_ptr<TransformerBlock>& block : blocks_) {
    x = block->Forward(x, config_.rotary ? &rotary : nullptr);
  }
  x = norm_(x);
  return head_ ? (*head_)(x) : Matmul(x, embedding_.weight(), {.transpose_b = true});
}

Tensor Gpt::Loss(const Tensor& ids, const Tensor& labels) {
  return nn::CrossEntropyLoss(Forward(ids), labels, {.f32_logits = config_.f32_logits});
}

}  // namespace moai::models
