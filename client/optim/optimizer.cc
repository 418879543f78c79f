#include "client/optim/optimizer.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/autograd/grad_node.h"
#include "client/capture/recorder.h"
#include "client/tensor/ops.h"

namespace moai::optim {

absl::Status Optimizer::Step(const StepOptions& options) {
  const NoGradGuard no_grad;
  for (const nn::NamedTensor& parameter : parameters_) {
    const Tensor gradient = parameter.tensor.Grad();
    if (!gradient.defined() || gradient.ok()) continue;
    const absl::Status status = gradient.status();
    return absl::Status(status.code(),
                        absl::StrCat("gradient of ", parameter.name, ": ", status.message()));
  }
  ++step_count_;
  BeginStep(options);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor gradient = parameters_[i].tensor.Grad();
    if (!gradient.defined()) continue;
    if (absl::Status status = Update(i, gradient); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("update of ", parameters_[i].name, ": ", status.message()));
    }
  }
  if (options.release_gradients) ZeroGrad();
  const Ref<Recorder>& recorder = Recorder::Current();
  if (!recorder) return absl::FailedPreconditionError("this thread has no accelerator");
  return recorder->MarkStep();
}

void Optimizer::ZeroGrad() {
  for (nn::NamedTensor& parameter : parameters_) parameter.tensor.ClearGrad();
}

Tensor Optimizer::ZerosFor(const Tensor& parameter) {
  const NoGradGuard no_grad;
  Tensor zeros = ZerosLike(parameter.Detach());
  zeros.MakeState();
  return zeros;
}

}  // namespace moai::optim
