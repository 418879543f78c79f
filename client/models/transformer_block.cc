#include "client/models/transformer_block.h"

#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr double kInitStddev = 0.02;

nn::LinearOptions Projection(bool bias) { return {.bias = bias, .init_stddev = kInitStddev}; }

Tensor Activate(FeedForwardActivation activation, const Tensor& x) {
  if (activation == FeedForwardActivation::kGelu) return Gelu(x);
  const Tensor positive = Relu(x);
  return positive * positive;
}

}  // namespace

TransformerBlock::TransformerBlock(const TransformerBlockConfig& config)
    : activation_(config.activation),
      attention_norm_(config.hidden, config.norm_eps),
      attention_({.hidden = config.hidden,
                  .heads = config.heads,
                  .kv_heads = config.kv_heads,
                  .causal = config.causal,
                  .bias = config.bias,
                  .linear = Projection(config.bias),
                  .fused = config.fused_attention,
                  .dropout = config.attention_dropout}),
      ffn_norm_(config.hidden, config.norm_eps),
      up_(config.hidden, config.ffn, Projection(config.bias)),
      down_(config.ffn, config.hidden, Projection(config.bias)),
      dropout_(config.dropout) {
  RegisterModule("attention_norm", attention_norm_);
  RegisterModule("attention", attention_);
  RegisterModule("ffn_norm", ffn_norm_);
  RegisterModule("up", up_);
  RegisterModule("down", down_);
  RegisterModule("dropout", dropout_);
}

Tensor TransformerBlock::Forward(const Tensor& x, const nn::RotaryTables* rotary) {
  const Tensor attended = x + dropout_(attention_.Forward(attention_norm_(x), rotary));
  const Tensor inner = Activate(activation_, up_(ffn_norm_(attended)));
  return attended + dropout_(down_(inner));
}

}  // namespace moai::models
