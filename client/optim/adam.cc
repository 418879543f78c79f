#include "client/optim/adam.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/tensor/ops.h"
#include "client/tensor/record_op.h"

namespace moai::optim {

AdamW::AdamW(std::vector<nn::NamedTensor> parameters, const AdamOptions& options)
    : Optimizer(std::move(parameters), options.learning_rate), options_(options) {
  moments_.resize(parameters_.size());
}

AdamW::Moments& AdamW::MomentsOf(size_t index) {
  Moments& moments = moments_[index];
  if (!moments.m.defined()) {
    moments = {.m = ZerosFor(parameters_[index].tensor), .v = ZerosFor(parameters_[index].tensor)};
  }
  return moments;
}

std::vector<nn::NamedTensor> AdamW::StateDict() {
  std::vector<nn::NamedTensor> state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Moments& moments = MomentsOf(i);
    state.push_back({absl::StrCat("m.", parameters_[i].name), moments.m});
    state.push_back({absl::StrCat("v.", parameters_[i].name), moments.v});
  }
  return state;
}

void AdamW::BeginStep(const StepOptions& options) {
  f32_ = {};
  f64_ = {};
  gradient_scale_ = options.gradient_scale;
}

const AdamW::Numbers& AdamW::NumbersIn(Dtype dtype) {
  // f64 parameters compute in f64, everything else in f32.
  if (dtype != Dtype::kF64) dtype = Dtype::kF32;
  Numbers& numbers = dtype == Dtype::kF64 ? f64_ : f32_;
  if (numbers.eps.defined()) return numbers;
  const double t = static_cast<double>(step_count_);
  const auto number = [dtype](double value) { return Tensor::FromNumber(value, dtype); };
  numbers = {.learning_rate = number(learning_rate_),
             .beta1 = number(options_.beta1),
             .beta2 = number(options_.beta2),
             .eps = number(options_.eps),
             .weight_decay = number(options_.weight_decay),
             .correction1 = number(1 - std::pow(options_.beta1, t)),
             .correction2 = number(1 - std::pow(options_.beta2, t)),
             .gradient_scale = gradient_scale_.defined() ? gradient_scale_.To(dtype) : number(1)};
  return numbers;
}

absl::Status AdamW::Update(size_t index, const Tensor& gradient) {
  Tensor& parameter = parameters_[index].tensor;
  Moments& moments = MomentsOf(index);
  const Numbers& numbers = NumbersIn(parameter.dtype());
  const auto updated =
      RecordOps<3>(Op::kAdamW, {parameter, gradient, moments.m, moments.v, numbers.learning_rate,
                                numbers.beta1, numbers.beta2, numbers.eps, numbers.weight_decay,
                                numbers.correction1, numbers.correction2, numbers.gradient_scale});
  if (!updated[0].ok()) return updated[0].status();
  parameter.Copy_(updated[0]);
  moments.m.Copy_(updated[1]);
  moments.v.Copy_(updated[2]);
  return parameter.status();
}

Adam::Adam(std::vector<nn::NamedTensor> parameters, const AdamOptions& options)
    : AdamW(std::move(parameters), options), coupled_weight_decay_(options.weight_decay) {
  options_.weight_decay = 0;
}

void Adam::BeginStep(const StepOptions& options) {
  if (coupled_weight_decay_ == 0) return AdamW::BeginStep(options);
  own_scale_ = options.gradient_scale;
  AdamW::BeginStep({});
}

absl::Status Adam::Update(size_t index, const Tensor& gradient) {
  if (coupled_weight_decay_ == 0) return AdamW::Update(index, gradient);
  const Tensor& parameter = parameters_[index].tensor;
  Tensor scaled = gradient.To(parameter.dtype());
  if (own_scale_.defined()) scaled = Mul(scaled, own_scale_.To(parameter.dtype()));
  return AdamW::Update(index, Add(scaled, Mul(parameter, coupled_weight_decay_)));
}

}  // namespace moai::optim
