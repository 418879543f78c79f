#include "client/nn/conv.h"

#include <algorithm>
#include <cmath>

#include "client/nn/initial.h"

namespace moai::nn {

Conv2d::Conv2d(int64_t in, int64_t out, int64_t size, const Conv2dOptions& options)
    : options_(options) {
  const int64_t fan_in =
      std::max<int64_t>(1, in / std::max<int64_t>(1, options.groups) * size * size);
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  const Shape shape = {out, in / std::max<int64_t>(1, options.groups), size, size};
  weight_ = RegisterParameter("weight", UniformWithin(shape, bound, options.dtype));
  if (options.bias) {
    bias_ = RegisterParameter("bias", UniformWithin({out}, bound, options.dtype));
  }
}

Tensor Conv2d::Forward(const Tensor& x) {
  const Tensor y = moai::Conv2d(x, weight_, options_.window, options_.groups);
  if (!bias_.defined()) return y;
  return Add(y, bias_.Reshape({1, bias_.elements(), 1, 1}).To(y.dtype()));
}

MaxPool2d::MaxPool2d(int64_t size) : MaxPool2d(size, Window::Padded(0, size)) {}
AvgPool2d::AvgPool2d(int64_t size) : AvgPool2d(size, Window::Padded(0, size)) {}

}  // namespace moai::nn
