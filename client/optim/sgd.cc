#include "client/optim/sgd.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/tensor/ops.h"

namespace moai::optim {

Sgd::Sgd(std::vector<nn::NamedTensor> parameters, const SgdOptions& options)
    : Optimizer(std::move(parameters), options.learning_rate), options_(options) {
  buffers_.resize(parameters_.size());
}

Tensor& Sgd::BufferOf(size_t index) {
  Tensor& buffer = buffers_[index];
  if (!buffer.defined()) buffer = ZerosFor(parameters_[index].tensor);
  return buffer;
}

std::vector<nn::NamedTensor> Sgd::StateDict() {
  std::vector<nn::NamedTensor> state;
  if (options_.momentum == 0) return state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.push_back({absl::StrCat("momentum.", parameters_[i].name), BufferOf(i)});
  }
  return state;
}

void Sgd::BeginStep(const StepOptions& options) {
  step_size_ = Tensor::FromNumber(learning_rate_);
  gradient_scale_ = options.gradient_scale;
}

absl::Status Sgd::Update(size_t index, const Tensor& gradient) {
  Tensor& parameter = parameters_[index].tensor;
  Tensor direction = gradient.To(parameter.dtype());
  if (gradient_scale_.defined()) direction = Mul(direction, gradient_scale_.To(parameter.dtype()));
  if (options_.weight_decay != 0) direction = Add(direction, Mul(parameter, options_.weight_decay));
  if (options_.momentum != 0) {
    Tensor& buffer = BufferOf(index);
    buffer.Copy_(Add(Mul(buffer, options_.momentum), direction));
    direction = options_.nesterov ? Add(direction, Mul(buffer, options_.momentum)) : buffer;
  }
  parameter.Sub_(Mul(direction, step_size_.To(parameter.dtype())));
  return parameter.status();
}

}  // namespace moai::optim
