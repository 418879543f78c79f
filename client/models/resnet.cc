#include "client/models/resnet.h"

#include "absl/strings/str_cat.h"
#include "client/nn/loss.h"
#include "client/tensor/ops.h"

namespace moai::models {
namespace {

constexpr int64_t kExpansion = 4;  // of a bottleneck's result over its inner channels

nn::Conv2dOptions WithoutBias(int64_t size, int64_t stride) {
  return {.window = Window::Padded(size / 2, stride), .bias = false};
}

int64_t OutChannels(const ResnetConfig& config, int64_t inner) {
  return config.bottleneck ? kExpansion * inner : inner;
}

}  // namespace

ResnetBlock::NormedConv ResnetBlock::AddPart(const char* name, int64_t in, int64_t out,
                                             int64_t size, int64_t stride) {
  NormedConv part = {.conv = std::make_unique<nn::Conv2d>(in, out, size, WithoutBias(size, stride)),
                     .norm = std::make_unique<nn::BatchNorm2d>(out)};
  RegisterModule(absl::StrCat(name, ".conv"), *part.conv);
  RegisterModule(absl::StrCat(name, ".norm"), *part.norm);
  return part;
}

ResnetBlock::ResnetBlock(int64_t in, int64_t inner, int64_t out, int64_t stride, bool bottleneck) {
  if (bottleneck) {
    parts_.push_back(AddPart("0", in, inner, 1, 1));
    parts_.push_back(AddPart("1", inner, inner, 3, stride));
    parts_.push_back(AddPart("2", inner, out, 1, 1));
  } else {
    parts_.push_back(AddPart("0", in, inner, 3, stride));
    parts_.push_back(AddPart("1", inner, out, 3, 1));
  }
  if (stride != 1 || in != out) shortcut_ = AddPart("shortcut", in, out, 1, stride);
}

Tensor ResnetBlock::Forward(const Tensor& x) {
  Tensor y = x;
  for (size_t i = 0; i < parts_.size(); ++i) {
    y = (*parts_[i].norm)((*parts_[i].conv)(y));
    if (i + 1 < parts_.size()) y = Relu(y);
  }
  return Relu(y + (shortcut_.conv ? (*shortcut_.norm)((*shortcut_.conv)(x)) : x));
}

Resnet::Resnet(const ResnetConfig& config)
    : config_(config),
      stem_(config.channels, config.width, 7, WithoutBias(7, 2)),
      stem_norm_(config.width),
      pool_(3, Window::Padded(1, 2)),
      head_(OutChannels(config, 8 * config.width), config.classes) {
  RegisterModule("stem", stem_);
  RegisterModule("stem_norm", stem_norm_);
  int64_t in = config.width;
  for (size_t stage = 0; stage < config.blocks.size(); ++stage) {
    const int64_t inner = config.width << stage;
    const int64_t out = OutChannels(config, inner);
    for (int64_t i = 0; i < config.blocks[stage]; ++i) {
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      blocks_.push_back(std::make_unique<ResnetBlock>(in, inner, out, stride, config.bottleneck));
      RegisterModule(absl::StrCat("stages.", stage, ".", i), *blocks_.back());
      in = out;
    }
  }
  RegisterModule("head", head_);
}

Tensor Resnet::Forward(const Tensor& images) {
  Tensor x = pool_(Relu(stem_norm_(stem_(images))));
  for (const std::unique_ptr<ResnetBlock>& block : blocks_) x = (*block)(x);
  return head_(Mean(x, {2, 3}));
}

Tensor Resnet::Loss(const Tensor& images, const Tensor& labels) {
  return nn::CrossEntropyLoss(Forward(images), labels);
}

}  // namespace moai::models
