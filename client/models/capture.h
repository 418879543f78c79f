// One whole training step of a program, recorded without a device and without memory for the model:
// forward, loss, backward, clipping, AdamW. The graph is the one that a live session would be sent
// in every step but the first.
#ifndef MOAI_CLIENT_MODELS_CAPTURE_H_
#define MOAI_CLIENT_MODELS_CAPTURE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/nn/module.h"
#include "client/optim/adam.h"
#include "client/tensor/tensor.h"
#include "graph/captured_step.h"

namespace moai {

// A tensor of this type without content, in place of the data of a batch: what Tensor::FromBytes
// makes, but for the bytes. Only a RecordingSession takes it.
Tensor Placeholder(const TensorType& type);

// A model and what a step of its training computes.
struct TrainingProgram {
  std::unique_ptr<nn::Module> module;
  // The loss of one batch, rank 0: made of `module` and new placeholders in every call.
  std::function<Tensor()> loss;
  int64_t samples = 0;  // sequences or images of a batch
  int64_t tokens = 0;   // of a batch; 0 where there are none
};

struct CaptureOptions {
  // Matrix products in this dtype, with f32 weights and optimizer state (client/tensor/autocast.h);
  // absent: everything in f32.
  std::optional<Dtype> autocast = Dtype::kBF16;
  optim::AdamOptions optimizer = {.learning_rate = 3e-4, .beta2 = 0.95, .weight_decay = 0.1};
  double clip_norm = 1;  // of all gradients together; 0 for no clipping
};

// Makes the program by `make` and records its steps until they repeat. Everything that belongs to
// the thread (recorder, seeds, guards) is that of a new one, so that the caller's is untouched and
// the result does not depend on it.
// An error of the program (a poisoned tensor) is returned. Unimplemented where a step is no single
// graph, or does not repeat.
absl::StatusOr<CapturedStep> CaptureTrainingStep(const std::string& name,
                                                 const std::function<TrainingProgram()>& make,
                                                 const CaptureOptions& options = {});

}  // namespace moai

#endif  // MOAI_CLIENT_MODELS_CAPTURE_H_
