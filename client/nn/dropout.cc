#include "client/nn/dropout.h"

#include "client/tensor/ops.h"

namespace moai::nn {

Tensor Dropout::Forward(const Tensor& x) {
  if (!training() || probability_ == 0 || !x.ok()) return x;
  const double keep = 1 - probability_;
  // The gradient needs which elements stayed, a byte each, and nothing else.
  const Tensor stays = random_.Bernoulli(x.shape(), keep, Dtype::kBool);
  return Mul(Where(stays, x, Full({}, 0, x.dtype())), 1 / keep);
}

}  // namespace moai::nn
