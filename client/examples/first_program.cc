#include <cstdio>

#include "client/moai.h"

int main() {
  // A server named by MOAI_SERVER, or one of this machine's own, started for this program.
  absl::StatusOr<moai::Accelerator> accelerator = moai::Accelerator::Connect({.log = false});
  if (!accelerator.ok()) return std::puts(accelerator.status().ToString().c_str()), 1;

  // y = 3 x - 1, learned from noise. Nothing here waits: ops are recorded and sent in the
  // background.
  moai::ManualSeed(7);
  moai::nn::Linear model(1, 1);
  moai::optim::AdamW optimizer(model.NamedParameters(), {.learning_rate = 0.05});
  moai::Tensor loss;
  for (int step = 0; step < 300; ++step) {
    const moai::Tensor x = moai::Normal({64, 1});
    loss = moai::nn::MseLoss(model(x), 3 * x - 1);
    if (absl::Status status = loss.Backward(); !status.ok()) return 1;
    if (absl::Status status = optimizer.Step(); !status.ok()) return 1;
    optimizer.ZeroGrad();
  }

  // A read waits for the value.
  absl::StatusOr<double> weight = model.weight().Item();
  absl::StatusOr<double> bias = model.bias().Item();
  if (!weight.ok() || !bias.ok()) return std::puts(weight.status().ToString().c_str()), 1;
  std::printf("y = %.2f x + %.2f\n", *weight, *bias);
}
