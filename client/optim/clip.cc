#include "client/optim/clip.h"

#include "client/autograd/grad_node.h"
#include "client/tensor/ops.h"

namespace moai::optim {

ClippedNorm ClipGradientNorm(const std::vector<nn::NamedTensor>& parameters, double max_norm) {
  const NoGradGuard no_grad;
  Tensor sum = Tensor::FromNumber(0);
  for (const nn::NamedTensor& parameter : parameters) {
    const Tensor gradient = parameter.tensor.Grad();
    if (!gradient.defined()) continue;
    const Tensor f32 = gradient.To(Dtype::kF32);
    sum = Add(sum, Sum(Mul(f32, f32)));
  }
  const Tensor norm = Sqrt(sum);
  // The small term keeps the scale finite when every gradient is zero.
  return {.norm = norm, .scale = Minimum(Div(max_norm, Add(norm, 1e-6)), 1)};
}

}  // namespace moai::optim
