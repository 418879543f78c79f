// What optimizers have in common. Step ends the training step: what was recorded is submitted, and
// nothing waits for it.
#ifndef MOAI_CLIENT_OPTIM_OPTIMIZER_H_
#define MOAI_CLIENT_OPTIM_OPTIMIZER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/nn/module.h"
#include "client/tensor/tensor.h"

namespace moai::optim {

struct StepOptions {
  // Multiplies every gradient first; a rank 0 tensor (see clip.h) or undefined for none. It stays
  // on the accelerator: clipping needs no read.
  Tensor gradient_scale;
  // Drop the gradients with the update, as ZeroGrad after it would, but before the step is submitted:
  // no memory is kept for them between steps.
  bool release_gradients = false;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Updates every parameter that has a gradient, and ends the step. An error, and no update, where
  // a gradient is poisoned or the session has ended.
  absl::Status Step(const StepOptions& options = {});
  // Drops the gradients.
  void ZeroGrad();

  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double learning_rate) { learning_rate_ = learning_rate; }

  // How many steps were taken; part of what a resumed run must restore.
  int64_t step_count() const { return step_count_; }
  void set_step_count(int64_t step_count) { step_count_ = step_count; }

  // The optimizer's tensors, named after their parameters ("m.", "v.", "momentum."). Made with the
  // first call, so that a saved state can be loaded into them before the first step.
  virtual std::vector<nn::NamedTensor> StateDict() = 0;

 protected:
  Optimizer(std::vector<nn::NamedTensor> parameters, double learning_rate)
      : parameters_(std::move(parameters)), learning_rate_(learning_rate) {}

  // Numbers that all parameters' updates share in this step.
  virtual void BeginStep(const StepOptions& options) = 0;
  // Updates parameters_[index], which has `gradient`.
  virtual absl::Status Update(size_t index, const Tensor& gradient) = 0;

  // State like the parameter, of zeros.
  static Tensor ZerosFor(const Tensor& parameter);

  std::vector<nn::NamedTensor> parameters_;
  double learning_rate_;
  int64_t step_count_ = 0;
};

}  // namespace moai::optim

#endif  // MOAI_CLIENT_OPTIM_OPTIMIZER_H_
