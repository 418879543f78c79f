#include "client/models/t5.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/autograd/grad_node.h"
#include "client/nn/loss.h"
#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr double kNormEps = 1e-6;
// Hides a key: finite, since a row of nothing else must stay a number.
constexpr double kMasked = -1e9;

nn::LinearOptions Projection(int64_t in) {
  return {.bias = false, .init_stddev = 1 / std::sqrt(static_cast<double>(in))};
}

// Scores are not divided by the root of the head size; the initial weights of q are.
nn::LinearOptions QueryProjection(const T5Config& config) {
  return {.bias = false,
          .init_stddev = 1 / std::sqrt(static_cast<double>(config.hidden * config.head_size))};
}

}  // namespace

Tensor RelativeBuckets(int64_t length, T5Side side, int64_t buckets, int64_t max_distance) {
  const NoGradGuard no_grad;
  const Shape shape = {length, length};
  const Tensor ahead = Iota(shape, 1) - Iota(shape, 0);  // of the key
  const bool both_ways = side == T5Side::kEncoder;
  const int64_t per_way = both_ways ? buckets / 2 : buckets;
  const int64_t exact = std::max<int64_t>(1, per_way / 2);
  const Tensor distance = both_ways ? Abs(ahead) : Maximum(Neg(ahead), 0);
  // f64, and a little more than the logarithm, so that powers reach the bucket they begin.
  const double scale = static_cast<double>(per_way - exact) /
                       std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const Tensor logarithm =
      Log(Div(Maximum(distance, 1).To(Dtype::kF64), static_cast<double>(exact)));
  const Tensor far = Minimum(Floor(logarithm * scale + (static_cast<double>(exact) + 1e-9)),
                             static_cast<double>(per_way - 1));
  Tensor bucket = Where(Lt(distance, static_cast<double>(exact)), distance, far.To(Dtype::kI64));
  if (both_ways) bucket = bucket + Mul(Gt(ahead, 0).To(Dtype::kI64), static_cast<double>(per_way));
  return bucket.To(Dtype::kI32);
}

T5Attention::T5Attention(const T5Config& config)
    : heads_(config.heads),
      head_size_(config.head_size),
      q_(config.hidden, config.heads * config.head_size, QueryProjection(config)),
      k_(config.hidden, config.heads * config.head_size, Projection(config.hidden)),
      v_(config.hidden, config.heads * config.head_size, Projection(config.hidden)),
      o_(config.heads * config.head_size, config.hidden,
         Projection(config.heads * config.head_size)),
      dropout_(config.dropout) {
  RegisterModule("q", q_);
  RegisterModule("k", k_);
  RegisterModule("v", v_);
  RegisterModule("o", o_);
  RegisterModule("dropout", dropout_);
}

Tensor T5Attention::SplitHeads(const Tensor& x) const {
  if (!x.ok()) return x;
  return x.Reshape({x.size(0), x.size(1), heads_, head_size_}).Transpose(1, 2);
}

Tensor T5Attention::Forward(const Tensor& x, const Tensor& memory, const Tensor& bias) {
  if (!x.ok()) return x;
  const Tensor q = SplitHeads(q_(x));
  const Tensor k = SplitHeads(k_(memory));
  const Tensor v = SplitHeads(v_(memory));
  Tensor scores = Matmul(q, k, {.transpose_b = true}).To(Dtype::kF32);
  if (bias.defined()) scores = scores + bias;
  const Tensor weights = dropout_(Softmax(scores).To(v.dtype()));
  const Tensor attended = Matmul(weights, v).Transpose(1, 2);
  return o_(attended.Reshape({x.size(0), x.size(1), heads_ * head_size_}));
}

T5FeedForward::T5FeedForward(const T5Config& config)
    : up_(config.hidden, config.ffn, Projection(config.hidden)),
      down_(config.ffn, config.hidden, Projection(config.ffn)),
      dropout_(config.dropout) {
  if (config.gated) {
    gate_ = std::make_unique<nn::Linear>(config.hidden, config.ffn, Projection(config.hidden));
    RegisterModule("gate", *gate_);
  }
  RegisterModule("up", up_);
  RegisterModule("down", down_);
  RegisterModule("dropout", dropout_);
}

Tensor T5FeedForward::Forward(const Tensor& x) {
  const Tensor inner = gate_ ? Gelu((*gate_)(x)) * up_(x) : Relu(up_(x));
  return down_(dropout_(inner));
}

T5Block::T5Block(const T5Config& config, T5Side side)
    : self_norm_(config.hidden, kNormEps),
      self_(config),
      ffn_norm_(config.hidden, kNormEps),
      ffn_(config),
      dropout_(config.dropout) {
  RegisterModule("self_norm", self_norm_);
  RegisterModule("self", self_);
  if (side == T5Side::kDecoder) {
    cross_norm_ = std::make_unique<nn::RmsNorm>(config.hidden, kNormEps);
    cross_ = std::make_unique<T5Attention>(config);
    RegisterModule("cross_norm", *cross_norm_);
    RegisterModule("cross", *cross_);
  }
  RegisterModule("ffn_norm", ffn_norm_);
  RegisterModule("ffn", ffn_);
  RegisterModule("dropout", dropout_);
}

Tensor T5Block::Forward(const Tensor& input, const Tensor& bias, const Tensor& memory) {
  const Tensor normed = self_norm_(input);
  Tensor x = input + dropout_(self_.Forward(normed, normed, bias));
  if (cross_) x = x + dropout_(cross_->Forward((*cross_norm_)(x), memory, Tensor()));
  return x + dropout_(ffn_(ffn_norm_(x)));
}

T5Stack::T5Stack(const T5Config& config, T5Side side)
    : side_(side),
      buckets_(RelativeBuckets(
          side == T5Side::kEncoder ? config.source_sequence : config.target_sequence, side,
          config.buckets, config.max_distance)),
      bias_(config.buckets, config.heads, {.init_stddev = 0.05}),
      norm_(config.hidden, kNormEps),
      dropout_(config.dropout) {
  // A table of constants: kept by the session, not part of what is saved.
  buckets_.MakeState();
  RegisterModule("bias", bias_);
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(std::make_unique<T5Block>(config, side));
    RegisterModule(absl::StrCat("blocks.", i), *blocks_.back());
  }
  RegisterModule("norm", norm_);
  RegisterModule("dropout", dropout_);
}

Tensor T5Stack::Bias(int64_t length) {
  const bool whole = length == buckets_.size(0);
  const Tensor buckets = whole ? buckets_ : buckets_.Narrow(0, 0, length).Narrow(1, 0, length);
  const Tensor bias = bias_(buckets).Permute({2, 0, 1}).To(Dtype::kF32);
  if (side_ == T5Side::kEncoder) return bias;
  const Shape shape = {length, length};
  const Tensor later = Gt(Iota(shape, 1, Dtype::kI32), Iota(shape, 0, Dtype::kI32));
  return bias + Mul(later.To(Dtype::kF32), kMasked);
}

Tensor T5Stack::Forward(const Tensor& input, const Tensor& memory) {
  if (!input.ok()) return input;
  const Tensor bias = Bias(input.size(1));
  Tensor x = dropout_(input);
  for (const std::unique_ptr<T5Block>& block : blocks_) x = block->Forward(x, bias, memory);
  return dropout_(norm_(x));
}

T5::T5(const T5Config& config)
    : config_(config),
      embedding_(config.vocabulary, config.hidden),
      encoder_(config, T5Side::kEncoder),
      decoder_(config, T5Side::kDecoder) {
  RegisterModule("embedding", embedding_);
  RegisterModule("encoder", encoder_);
  RegisterModule("decoder", decoder_);
  if (config.tied_head) {
    RegisterShared("head.weight", embedding_.weight());
  } else {
    head_ =
        std::make_unique<nn::Linear>(config.hidden, config.vocabulary, Projection(config.hidden));
    RegisterModule("head", *head_);
  }
}

Tensor T5::Forward(const Tensor& source, const Tensor& target) {
  const Tensor memory = encoder_.Forward(embedding_(source), Tensor());
  const Tensor x = decoder_.Forward(embedding_(target), memory);
  if (head_) return (*head_)(x);
  // The shared table is of unit variance; scores are brought back to it.
  const double scale = 1 / std::sqrt(static_cast<double>(config_.hidden));
  return Matmul(x * scale, embedding_.weight(), {.transpose_b = true});
}

Tensor T5::Loss(const Tensor& source, const Tensor& target, const Tensor& labels) {
  return nn::CrossEntropyLoss(Forward(source, target), labels);
}

}  // namespace moai::models
