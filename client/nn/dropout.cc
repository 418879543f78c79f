#include "client/nn/dropout.h"

#include "client/tensor/ops.h"

namespace moai::nn {

Tensor Dropout::Forward(const Tensor& x) {
  if (!training() || probability_ == 0 || !x.ok()) return x;
  const double keep = 1 - probability_;
  return Mul(Mul(x, random_.Bernoulli(x.shape(), keep, x.dtype())), 1 / keep);
}

}  // namespace moai::nn
