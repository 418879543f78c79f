#include "client/nn/initial.h"

#include "client/autograd/grad_node.h"
#include "client/tensor/ops.h"

namespace moai::nn {

// Drawn in f32 and rounded, so that a model starts alike in every dtype.
Tensor UniformWithin(const Shape& shape, double bound, Dtype dtype) {
  const NoGradGuard no_grad;
  const Tensor drawn = Sub(Mul(Uniform(shape), 2 * bound), bound);
  return drawn.To(dtype);
}

Tensor NormalWith(const Shape& shape, double stddev, Dtype dtype) {
  const NoGradGuard no_grad;
  return Mul(Normal(shape), stddev).To(dtype);
}

}  // namespace moai::nn
