#include "client/models/vit.h"

#include "absl/strings/str_cat.h"
#include "client/nn/loss.h"
#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr double kInitStddev = 0.02;
constexpr double kNormEps = 1e-6;

}  // namespace

Vit::Vit(const VitConfig& config)
    : config_(config),
      patches_(config.channels, config.hidden, config.patch,
               {.window = Window::Padded(0, config.patch)}),
      dropout_(config.dropout),
      norm_(config.hidden, kNormEps),
      head_(config.hidden, config.classes, {.init_stddev = kInitStddev}) {
  const int64_t side = config.image / config.patch;
  RegisterModule("patches", patches_);
  class_token_ = RegisterParameter("class_token", Zeros({1, 1, config.hidden}));
  positions_ =
      RegisterParameter("positions", Mul(Normal({1 + side * side, config.hidden}), kInitStddev));
  RegisterModule("dropout", dropout_);
  const TransformerBlockConfig block = {.hidden = config.hidden,
                                        .ffn = config.ffn > 0 ? config.ffn : 4 * config.hidden,
                                        .heads = config.heads,
                                        .dropout = config.dropout,
                                        .norm_eps = kNormEps};
  for (int64_t i = 0; i < config.layers; ++i) {
    blocks_.push_back(std::make_unique<TransformerBlock>(block));
    RegisterModule(absl::StrCat("blocks.", i), *blocks_.back());
  }
  RegisterModule("norm", norm_);
  RegisterModule("head", head_);
}

Tensor Vit::Forward(const Tensor& images) {
  const Tensor patches = patches_(images);
  if (!patches.ok()) return patches;
  const int64_t batch = patches.size(0);
  const Tensor tokens = patches.Reshape({batch, config_.hidden, -1}).Transpose(1, 2);
  const Tensor class_token = class_token_.To(tokens.dtype()).Expand({batch, 1, config_.hidden});
  const Tensor parts[] = {class_token, tokens};
  Tensor x = dropout_(Concat(parts, 1) + positions_.To(tokens.dtype()));
  for (const std::unique_ptr<TransformerBlock>& block : blocks_) x = block->Forward(x);
  return head_(norm_(x.Select(1, 0)));
}

Tensor Vit::Loss(const Tensor& images, const Tensor& labels) {
  return nn::CrossEntropyLoss(Forward(images), labels);
}

}  // namespace moai::models
