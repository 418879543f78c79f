// Gradient clipping by the norm of all gradients together (Pascanu et al., arXiv 1211.5063).
#ifndef MOAI_CLIENT_OPTIM_CLIP_H_
#define MOAI_CLIENT_OPTIM_CLIP_H_

#include <vector>

#include "client/nn/module.h"
#include "client/tensor/tensor.h"

namespace moai::optim {

struct ClippedNorm {
  Tensor norm;   // of all gradients before clipping; rank 0, f32. Reading it waits.
  Tensor scale;  // min(1, max_norm / norm): what StepOptions::gradient_scale takes
};

// Computes the scale and leaves the gradients alone, so that the optimizer applies it in its one
// pass.
ClippedNorm ClipGradientNorm(const std::vector<nn::NamedTensor>& parameters, double max_norm);

}  // namespace moai::optim

#endif  // MOAI_CLIENT_OPTIM_CLIP_H_
