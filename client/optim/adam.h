// Adam (Kingma and Ba, arXiv 1412.6980) and AdamW (Loshchilov and Hutter, arXiv 1711.05101).
#ifndef MOAI_CLIENT_OPTIM_ADAM_H_
#define MOAI_CLIENT_OPTIM_ADAM_H_

#include <vector>

#include "client/optim/optimizer.h"

namespace moai::optim {

struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

// Each parameter's update is one pass over its memory.
class AdamW : public Optimizer {
 public:
  // Weight decay is decoupled from the gradient.
  AdamW(std::vector<nn::NamedTensor> parameters, const AdamOptions& options);
  std::vector<nn::NamedTensor> StateDict() override;

 protected:
  void BeginStep(const StepOptions& options) override;
  absl::Status Update(size_t index, const Tensor& gradient) override;

  AdamOptions options_;
  Tensor gradient_scale_;  // of this step; undefined for none

 private:
  struct Moments {
    Tensor m;
    Tensor v;
  };
  // The scalar inputs of the update, in one dtype.
  struct Numbers {
    Tensor learning_rate, beta1, beta2, eps, weight_decay, correction1, correction2, gradient_scale;
  };
  Moments& MomentsOf(size_t index);
  const Numbers& NumbersIn(Dtype dtype);

  std::vector<Moments> moments_;
  Numbers f32_;
  Numbers f64_;  // for f64 parameters; made when there is one
};

// Weight decay is added to the gradient.
class Adam : public AdamW {
 public:
  Adam(std::vector<nn::NamedTensor> parameters, const AdamOptions& options);

 protected:
  void BeginStep(const StepOptions& options) override;
  absl::Status Update(size_t index, const Tensor& gradient) override;

 private:
  Tensor own_scale_;  // applied before the decay is added
  double coupled_weight_decay_;
};

}  // namespace moai::optim

#endif  // MOAI_CLIENT_OPTIM_ADAM_H_
