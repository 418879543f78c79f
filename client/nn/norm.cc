#include "client/nn/norm.h"

#include "client/autograd/grad_node.h"
#include "client/tensor/ops.h"

namespace moai::nn {

LayerNorm::LayerNorm(int64_t size, double eps)
    : eps_(eps),
      weight_(RegisterParameter("weight", Ones({size}))),
      bias_(RegisterParameter("bias", Zeros({size}))) {}

Tensor LayerNorm::Forward(const Tensor& x) { return moai::LayerNorm(x, weight_, bias_, eps_); }

RmsNorm::RmsNorm(int64_t size, double eps)
    : eps_(eps), weight_(RegisterParameter("weight", Ones({size}))) {}

Tensor RmsNorm::Forward(const Tensor& x) { return moai::RmsNorm(x, weight_, eps_); }

GroupNorm::GroupNorm(int64_t groups, int64_t channels, double eps)
    : groups_(groups),
      eps_(eps),
      weight_(RegisterParameter("weight", Ones({channels}))),
      bias_(RegisterParameter("bias", Zeros({channels}))) {}

Tensor GroupNorm::Forward(const Tensor& x) {
  return moai::GroupNorm(x, weight_, bias_, groups_, eps_);
}

BatchNorm2d::BatchNorm2d(int64_t channels, const BatchNormOptions& options)
    : options_(options),
      weight_(RegisterParameter("weight", Ones({channels}))),
      bias_(RegisterParameter("bias", Zeros({channels}))),
      running_mean_(RegisterBuffer("running_mean", Zeros({channels}))),
      running_var_(RegisterBuffer("running_var", Ones({channels}))) {}

Tensor BatchNorm2d::Forward(const Tensor& x) {
  if (training()) {
    const BatchNormResult result = BatchNorm(x, weight_, bias_, options_.eps);
    UpdateRunning(x, result.mean, result.variance);
    return result.y;
  }
  if (x.ok() && x.rank() != 4) {
    return Tensor::Poisoned(absl::InvalidArgumentError(
        "BatchNorm2d takes a tensor of 4 dims (batch, channels, height, width)"));
  }
  const Tensor scale = Mul(weight_, Rsqrt(Add(running_var_, options_.eps)));
  const Tensor shift = Sub(bias_, Mul(running_mean_, scale));
  const Shape per_channel = {1, weight_.elements(), 1, 1};
  return Add(Mul(x, scale.Reshape(per_channel).To(x.dtype())),
             shift.Reshape(per_channel).To(x.dtype()));
}

void BatchNorm2d::UpdateRunning(const Tensor& x, const Tensor& mean, const Tensor& variance) {
  if (!mean.ok()) return;
  const NoGradGuard no_grad;
  const double count = static_cast<double>(x.elements() / weight_.elements());
  const double unbiased = count > 1 ? count / (count - 1) : 1;
  running_mean_.Copy_(
      Add(Mul(running_mean_, 1 - options_.momentum), Mul(mean.Detach(), options_.momentum)));
  running_var_.Copy_(Add(Mul(running_var_, 1 - options_.momentum),
                         Mul(variance.Detach(), options_.momentum * unbiased)));
}

}  // namespace moai::nn
