// Initial values. They are recorded like any op, so that a model comes into being where it lives.
#ifndef MOAI_CLIENT_NN_INITIAL_H_
#define MOAI_CLIENT_NN_INITIAL_H_

#include "client/tensor/tensor.h"

namespace moai::nn {

// Uniform in [-bound, bound).
Tensor UniformWithin(const Shape& shape, double bound, Dtype dtype);
// Normal around 0.
Tensor NormalWith(const Shape& shape, double stddev, Dtype dtype);

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_INITIAL_H_
