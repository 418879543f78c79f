#include "client/nn/attention.h"

#include <algorithm>
#include <cmath>

#include "client/autograd/grad_node.h"
#include "client/tensor/ops.h"

namespace moai::nn {
namespace {

// The score of a key that may not be seen: no weight in any dtype, and no infinity whose difference
// is not a number.
constexpr double kInvisible = -6e4;

LinearOptions ProjectionOptions(const AttentionConfig& config) {
  LinearOptions options = config.linear;
  options.bias = config.bias;
  return options;
}

AttentionConfig Completed(AttentionConfig config) {
  config.heads = std::max<int64_t>(1, config.heads);
  if (config.kv_heads <= 0) config.kv_heads = config.heads;
  return config;
}

}  // namespace

RotaryTables MakeRotaryTables(int64_t sequence, int64_t head_size, double base) {
  const NoGradGuard no_grad;
  const Shape shape = {sequence, head_size / 2};
  const Tensor pair = Iota(shape, 1).To(Dtype::kF64);
  const Tensor position = Iota(shape, 0).To(Dtype::kF64);
  const Tensor angle =
      Mul(position, Exp(Mul(pair, -2 * std::log(base) / static_cast<double>(head_size))));
  // f64 until here: an f32 angle of a late position has lost its fraction.
  return {Cos(angle).To(Dtype::kF32), Sin(angle).To(Dtype::kF32)};
}

MultiHeadAttention::MultiHeadAttention(const AttentionConfig& config)
    : config_(Completed(config)),
      head_size_(config_.hidden / config_.heads),
      q_(config_.hidden, config_.heads * head_size_, ProjectionOptions(config_)),
      k_(config_.hidden, config_.kv_heads * head_size_, ProjectionOptions(config_)),
      v_(config_.hidden, config_.kv_heads * head_size_, ProjectionOptions(config_)),
      o_(config_.heads * head_size_, config_.hidden, ProjectionOptions(config_)) {
  RegisterModule("q", q_);
  RegisterModule("k", k_);
  RegisterModule("v", v_);
  RegisterModule("o", o_);
  if (!config_.fused) {
    dropout_ = std::make_unique<Dropout>(config_.dropout);
    RegisterModule("dropout", *dropout_);
  }
}

Tensor MultiHeadAttention::AttendByProducts(const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t batch = q.size(0), sequence = q.size(1);
  const int64_t groups = config_.kv_heads, each = config_.heads / groups;
  // Heads that share keys are rows of one product.
  const Shape rows = {batch, groups, each * sequence, head_size_};
  const Shape matrices = {batch, config_.heads, sequence, sequence};
  const double scale = 1 / std::sqrt(static_cast<double>(head_size_));
  const Tensor scaled = Mul(q, scale).Transpose(1, 2).Reshape(rows);
  Tensor scores = Matmul(scaled, k.Transpose(1, 2), {.transpose_b = true}).Reshape(matrices);
  if (config_.causal) {
    const Shape square = {sequence, sequence};
    const Tensor visible = Ge(Iota(square, 0), Iota(square, 1));
    scores = Where(visible, scores, Full(square, kInvisible, scores.dtype()));
  }
  const Tensor weights =
      (*dropout_)(Softmax(scores)).Reshape({batch, groups, each * sequence, sequence});
  return Matmul(weights, v.Transpose(1, 2))
      .Reshape({batch, config_.heads, sequence, head_size_})
      .Transpose(1, 2);
}

Tensor MultiHeadAttention::Forward(const Tensor& x) { return Forward(x, nullptr); }

Tensor MultiHeadAttention::Forward(const Tensor& x, const RotaryTables* rotary) {
  if (!x.ok()) return x;
  if (x.rank() != 3) {
    return Tensor::Poisoned(absl::InvalidArgumentError(
        "MultiHeadAttention takes a tensor of 3 dims (batch, sequence, hidden)"));
  }
  const int64_t batch = x.size(0);
  const int64_t sequence = x.size(1);
  Tensor q = q_(x).Reshape({batch, sequence, config_.heads, head_size_});
  Tensor k = k_(x).Reshape({batch, sequence, config_.kv_heads, head_size_});
  const Tensor v = v_(x).Reshape({batch, sequence, config_.kv_heads, head_size_});
  if (rotary != nullptr) {
    q = Rotary(q, rotary->cosine, rotary->sine);
    k = Rotary(k, rotary->cosine, rotary->sine);
  }
  const Tensor y =
      config_.fused ? Attention(q, k, v, {.causal = config_.causal}) : AttendByProducts(q, k, v);
  return o_(y.Reshape({batch, sequence, config_.heads * head_size_}));
}

}  // namespace moai::nn
