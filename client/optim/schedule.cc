#include "client/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moai::optim {

double CosineSchedule::Factor(int64_t step) const {
  if (step < warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  }
  const int64_t decay_steps = std::max<int64_t>(1, total_steps - warmup_steps);
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup_steps) / static_cast<double>(decay_steps));
  return final_factor + (1 - final_factor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
}

double StepSchedule::Factor(int64_t step) const {
  return std::pow(gamma, static_cast<double>(step / std::max<int64_t>(1, period)));
}

}  // namespace moai::optim
