// Two-dimensional convolution and pooling; images are [batch, channels, height, width].
#ifndef MOAI_CLIENT_NN_CONV_H_
#define MOAI_CLIENT_NN_CONV_H_

#include <array>

#include "client/nn/module.h"
#include "client/tensor/ops.h"

namespace moai::nn {

struct Conv2dOptions {
  Window window;
  int64_t groups = 1;
  bool bias = true;
  Dtype dtype = Dtype::kF32;
};

// weight [out, in / groups, size, size]; uniform initial values in +-1/sqrt(fan in), as PyTorch.
class Conv2d : public Layer {
 public:
  Conv2d(int64_t in, int64_t out, int64_t size, const Conv2dOptions& options = {});
  Tensor Forward(const Tensor& x) override;

 private:
  Conv2dOptions options_;
  Tensor weight_;
  Tensor bias_;
};

class MaxPool2d : public Layer {
 public:
  // The stride is the window's size unless `window` says otherwise.
  explicit MaxPool2d(int64_t size);
  MaxPool2d(int64_t size, const Window& window) : size_{size, size}, window_(window) {}
  Tensor Forward(const Tensor& x) override { return moai::MaxPool2d(x, size_, window_); }

 private:
  std::array<int64_t, 2> size_;
  Window window_;
};

class AvgPool2d : public Layer {
 public:
  explicit AvgPool2d(int64_t size);
  AvgPool2d(int64_t size, const Window& window) : size_{size, size}, window_(window) {}
  Tensor Forward(const Tensor& x) override { return moai::AvgPool2d(x, size_, window_); }

 private:
  std::array<int64_t, 2> size_;
  Window window_;
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_CONV_H_
