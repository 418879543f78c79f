#include "client/models/mixtral.h"

#include "absl/strings/str_cat.h"
#include "client/nn/loss.h"
#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr double kInitStddev = 0.02;

nn::LinearOptions Projection() { return {.bias = false, .init_stddev = kInitStddev}; }

}  // namespace

MixtralBlock::MixtralBlock(const MixtralConfig& config)
    : attention_norm_(config.hidden),
      attention_({.hidden = config.hidden,
                  .heads = config.heads,
                  .kv_heads = config.kv_heads,
                  .causal = true,
                  .bias = false,
                  .linear = Projection()}),
      ffn_norm_(config.hidden),
      experts_({.hidden = config.hidden,
                .ffn = config.ffn,
                .experts = config.experts,
                .top_k = config.top_k,
                .capacity_factor = config.capacity_factor,
                .group_size = config.group_size,
                .init_stddev = kInitStddev}),
      dropout_(config.dropout) {
  RegisterModule("attention_norm", attention_norm_);
  RegisterModule("attention", attention_);
  RegisterModule("ffn_norm", ffn_norm_);
  RegisterModule("experts", experts_);
  RegisterModule("dropout", dropout_);
}

nn::MoeResult MixtralBlock::Forward(const Tensor& x, const nn::RotaryTables& rotary) {
  const Tensor attended = x + dropout_(attention_.Forward(attention_norm_(x), &rotary));
  const nn::MoeResult result = experts_.Forward(ffn_norm_(attended));
  return {.y = attended + dropout_(result.y), .balance_loss = result.balance_loss};
}

Mixtral::Mixtral(const MixtralConfig& config)
    : config_(config),
      rotary_(
          nn::MakeRotaryTables(config.sequence, config.hidden / config.heads, config.rotary_base)),
      embedding_(config.vocabulary, config.hidden, {.init_stddev = kInitStddev}),
      norm_(config.hidden),
      head_(config.hidden, config.vocabulary, Projection()) {
  // Tables of constants: kept by the session, not part of what is saved.
  rotary_.cosine.MakeState();
  rotary_.sine.MakeState();
  RegisterModule("embedding", embedding_);
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(std::make_unique<MixtralBlock>(config));
    RegisterModule(absl::StrCat("blocks.", i), *blocks_.back());
  }
  RegisterModule("norm", norm_);
  RegisterModule("head", head_);
}

Mixtral::Result Mixtral::Forward(const Tensor& ids) {
  const int64_t length = ids.rank() == 2 ? ids.size(1) : 0;
  const bool whole = length == config_.sequence;
  const nn::RotaryTables rotary = whole ? rotary_
                                        : nn::RotaryTables{rotary_.cosine.Narrow(0, 0, length),
                                                           rotary_.sine.Narrow(0, 0, length)};
  Tensor x = embedding_(ids);
  Tensor balance_loss;
  for (const std::unique_ptr<MixtralBlock>& block : blocks_) {
    nn::MoeResult result = block->Forward(x, rotary);
    x = result.y;
    balance_loss =
        balance_loss.defined() ? balance_loss + result.balance_loss : result.balance_loss;
  }
  if (!balance_loss.defined()) balance_loss = Zeros({});
  return {.logits = head_(norm_(x)), .balance_loss = balance_loss};
}

Tensor Mixtral::Loss(const Tensor& ids, const Tensor& labels) {
  const Result result = Forward(ids);
  return nn::CrossEntropyLoss(result.logits, labels) + config_.balance_weight * result.balance_loss;
}

}  // namespace moai::models
