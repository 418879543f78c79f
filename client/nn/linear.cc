#include "client/nn/linear.h"

#include <cmath>

#include "client/nn/initial.h"
#include "client/tensor/ops.h"

namespace moai::nn {

Linear::Linear(int64_t in, int64_t out, const LinearOptions& options) {
  const double bound = in > 0 ? 1 / std::sqrt(static_cast<double>(in)) : 0;
  const Shape shape = {out, in};
  weight_ = RegisterParameter("weight", options.init_stddev.has_value()
                                            ? NormalWith(shape, *options.init_stddev, options.dtype)
                                            : UniformWithin(shape, bound, options.dtype));
  if (options.bias) {
    bias_ = RegisterParameter("bias", options.init_stddev.has_value()
                                          ? Zeros({out}, options.dtype)
                                          : UniformWithin({out}, bound, options.dtype));
  }
}

Tensor Linear::Forward(const Tensor& x) {
  // One matrix product whatever the leading dims are: they are rows.
  const bool flatten = x.ok() && x.rank() > 2;
  Tensor y = Matmul(flatten ? x.Reshape({-1, x.size(-1)}) : x, weight_, {.transpose_b = true});
  if (bias_.defined()) y = Add(y, bias_.To(y.dtype()));
  if (!flatten) return y;
  Shape shape = x.shape();
  shape[shape.rank() - 1] = weight_.size(0);
  return y.Reshape(shape);
}

Embedding::Embedding(int64_t count, int64_t size, const EmbeddingOptions& options)
    : weight_(RegisterParameter("weight",
                                NormalWith({count, size}, options.init_stddev, options.dtype))) {}

Tensor Embedding::Forward(const Tensor& ids) { return moai::Embedding(weight_, ids); }

}  // namespace moai::nn
