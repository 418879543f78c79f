// Normalisation layers. Statistics are f32 whatever the input's dtype.
#ifndef MOAI_CLIENT_NN_NORM_H_
#define MOAI_CLIENT_NN_NORM_H_

#include "client/nn/module.h"

namespace moai::nn {

// Over the last dim, with weight and bias.
class LayerNorm : public Layer {
 public:
  explicit LayerNorm(int64_t size, double eps = 1e-5);
  Tensor Forward(const Tensor& x) override;

 private:
  double eps_;
  Tensor weight_;
  Tensor bias_;
};

// x / sqrt(mean(x^2) + eps) * weight over the last dim (Zhang and Sennrich, arXiv 1910.07467).
class RmsNorm : public Layer {
 public:
  explicit RmsNorm(int64_t size, double eps = 1e-5);
  Tensor Forward(const Tensor& x) override;

 private:
  double eps_;
  Tensor weight_;
};

// x [n c s...]; channels in `groups` groups, which divide them.
class GroupNorm : public Layer {
 public:
  GroupNorm(int64_t groups, int64_t channels, double eps = 1e-5);
  Tensor Forward(const Tensor& x) override;

 private:
  int64_t groups_;
  double eps_;
  Tensor weight_;
  Tensor bias_;
};

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // of the newest batch in the running statistics
};

// x [n c h w]. Training normalises by the batch and updates running statistics; eval uses those.
class BatchNorm2d : public Layer {
 public:
  explicit BatchNorm2d(int64_t channels, const BatchNormOptions& options = {});
  Tensor Forward(const Tensor& x) override;

 private:
  void UpdateRunning(const Tensor& x, const Tensor& mean, const Tensor& variance);

  BatchNormOptions options_;
  Tensor weight_;
  Tensor bias_;
  Tensor running_mean_;
  Tensor running_var_;
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_NORM_H_
