// A residual network that classifies images (He et al., arXiv 1512.03385), with the stride of a
// bottleneck in its 3x3 convolution, as the well-known implementations have it.
#ifndef MOAI_CLIENT_MODELS_RESNET_H_
#define MOAI_CLIENT_MODELS_RESNET_H_

#include <array>
#include <memory>
#include <vector>

#include "client/nn/conv.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"

namespace moai::models {

struct ResnetConfig {
  std::array<int64_t, 4> blocks = {2, 2, 2, 2};  // of each stage; {3, 4, 6, 3} with bottlenecks is
                                                 // ResNet-50
  bool bottleneck = false;
  int64_t width = 64;  // channels of the first stage; each later one has twice as many
  int64_t channels = 3;
  int64_t classes = 1000;
  int64_t image = 224;  // height and width; any will do
};

// Two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1, each with batch norm, around a
// shortcut.
class ResnetBlock : public nn::Layer {
 public:
  ResnetBlock(int64_t in, int64_t inner, int64_t out, int64_t stride, bool bottleneck);
  Tensor Forward(const Tensor& x) override;

 private:
  struct NormedConv {
    std::unique_ptr<nn::Conv2d> conv;
    std::unique_ptr<nn::BatchNorm2d> norm;
  };
  NormedConv AddPart(const char* name, int64_t in, int64_t out, int64_t size, int64_t stride);

  std::vector<NormedConv> parts_;
  NormedConv shortcut_;  // empty where x is added as it is
};

class Resnet : public nn::Module {
 public:
  explicit Resnet(const ResnetConfig& config);

  // images [batch, channels, height, width] -> logits [batch, classes].
  Tensor Forward(const Tensor& images);
  // Mean cross-entropy. labels [batch].
  Tensor Loss(const Tensor& images, const Tensor& labels);

  const ResnetConfig& config() const { return config_; }

 private:
  ResnetConfig config_;
  nn::Conv2d stem_;
  nn::BatchNorm2d stem_norm_;
  nn::MaxPool2d pool_;
  std::vector<std::unique_ptr<ResnetBlock>> blocks_;
  nn::Linear head_;
};

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_RESNET_H_
