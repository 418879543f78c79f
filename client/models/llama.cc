#include "client/models/llama.h"

#include "absl/strings/str_cat.h"
#include "client/nn/loss.h"
#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr double kInitStddev = 0.02;

nn::LinearOptions Projection() { return {.bias = false, .init_stddev = kInitStddev}; }

}  // namespace

LlamaBlock::LlamaBlock(const LlamaConfig& config)
    : attention_norm_(config.hidden),
      attention_({.hidden = config.hidden,
                  .heads = config.heads,
                  .kv_heads = config.kv_heads,
                  .causal = true,
                  .bias = false,
                  .linear = Projection()}),
      ffn_norm_(config.hidden),
      gate_(config.hidden, config.ffn, Projection()),
      up_(config.hidden, config.ffn, Projection()),
      down_(config.ffn, config.hidden, Projection()),
      dropout_(config.dropout) {
  RegisterModule("attention_norm", attention_norm_);
  RegisterModule("attention", attention_);
  RegisterModule("ffn_norm", ffn_norm_);
  RegisterModule("gate", gate_);
  RegisterModule("up", up_);
  RegisterModule("down", down_);
  RegisterModule("dropout", dropout_);
}

Tensor LlamaBlock::Forward(const Tensor& x, const nn::RotaryTables& rotary) {
  const Tensor attended = x + dropout_(attention_.Forward(attention_norm_(x), &rotary));
  const Tensor h = ffn_norm_(attended);
  return attended + dropout_(down_(Silu(gate_(h)) * up_(h)));
}

Llama::Llama(const LlamaConfig& config)
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
    blocks_.push_back(std::make_unique<LlamaBlock>(config));
    RegisterModule(absl::StrCat("blocks.", i), *blocks_.back());
  }
  RegisterModule("norm", norm_);
  RegisterModule("head", head_);
}

Tensor Llama::Forward(const Tensor& ids) {
  const int64_t length = ids.rank() == 2 ? ids.size(1) : 0;
  const bool whole = length == config_.sequence;
  const nn::RotaryTables rotary = whole ? rotary_
                                        : nn::RotaryTables{rotary_.cosine.Narrow(0, 0, length),
                                                           rotary_.sine.Narrow(0, 0, length)};
  Tensor x = embedding_(ids);
  for (const std::unique_ptr<LlamaBlock>& block : blocks_) x = block->Forward(x, rotary);
  return head_(norm_(x));
}

Tensor Llama::Loss(const Tensor& ids, const Tensor& labels) {
  return nn::CrossEntropyLoss(Forward(ids), labels, {.f32_logits = config_.f32_logits});
}

}  // namespace moai::models
