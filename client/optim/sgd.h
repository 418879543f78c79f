// Stochastic gradient descent with momentum (Sutskever et al., ICML 2013, as PyTorch writes it:
// buffer = momentum * buffer + gradient; parameter -= learning rate * buffer).
#ifndef MOAI_CLIENT_OPTIM_SGD_H_
#define MOAI_CLIENT_OPTIM_SGD_H_

#include <vector>

#include "client/optim/optimizer.h"

namespace moai::optim {

struct SgdOptions {
  double learning_rate = 1e-2;
  double momentum = 0;
  bool nesterov = false;  // needs momentum
  double weight_decay = 0;
};

class Sgd : public Optimizer {
 public:
  Sgd(std::vector<nn::NamedTensor> parameters, const SgdOptions& options);
  std::vector<nn::NamedTensor> StateDict() override;

 protected:
  void BeginStep(const StepOptions& options) override;
  absl::Status Update(size_t index, const Tensor& gradient) override;

 private:
  Tensor& BufferOf(size_t index);

  SgdOptions options_;
  std::vector<Tensor> buffers_;
  Tensor step_size_;  // f32
  Tensor gradient_scale_;
};

}  // namespace moai::optim

#endif  // MOAI_CLIENT_OPTIM_SGD_H_
