// A vision transformer that classifies images (Dosovitskiy et al., arXiv 2010.11929): patches
// become tokens, a class token is put before them, learned positions are added, and the class
// token's result is classified.
#ifndef MOAI_CLIENT_MODELS_VIT_H_
#define MOAI_CLIENT_MODELS_VIT_H_

#include <memory>
#include <vector>

#include "client/models/transformer_block.h"
#include "client/nn/conv.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"

namespace moai::models {

struct VitConfig {
  int64_t image = 224;  // height and width; a multiple of patch
  int64_t patch = 16;
  int64_t channels = 3;
  int64_t classes = 1000;
  int64_t hidden = 768;
  int64_t ffn = 0;  // 0: 4 hidden
  int64_t layers = 12;
  int64_t heads = 12;
  double dropout = 0;
};

class Vit : public nn::Module {
 public:
  explicit Vit(const VitConfig& config);

  // images [batch, channels, image, image] -> logits [batch, classes].
  Tensor Forward(const Tensor& images);
  // Mean cross-entropy. labels [batch].
  Tensor Loss(const Tensor& images, const Tensor& labels);

  const VitConfig& config() const { return config_; }

 private:
  VitConfig config_;
  nn::Conv2d patches_;
  Tensor class_token_;  // [1, 1, hidden]
  Tensor positions_;    // [1 + patches, hidden]
  nn::Dropout dropout_;
  std::vector<std::unique_ptr<TransformerBlock>> blocks_;
  nn::LayerNorm norm_;
  nn::Linear head_;
};

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_VIT_H_
