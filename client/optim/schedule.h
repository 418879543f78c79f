// Learning-rate schedules: functions of the step, counted from 0, that give a factor for the peak
// learning rate. Plain numbers: a schedule never makes a new graph.
#ifndef MOAI_CLIENT_OPTIM_SCHEDULE_H_
#define MOAI_CLIENT_OPTIM_SCHEDULE_H_

#include <cstdint>

namespace moai::optim {

// Rises linearly over warmup_steps, then falls to `final_factor` along half a cosine until
// total_steps (Loshchilov and Hutter, arXiv 1608.03983), and stays there.
struct CosineSchedule {
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  double final_factor = 0.1;

  double Factor(int64_t step) const;
};

// Multiplies by `gamma` every `period` steps.
struct StepSchedule {
  int64_t period = 1;
  double gamma = 0.1;

  double Factor(int64_t step) const;
};

}  // namespace moai::optim

#endif  // MOAI_CLIENT_OPTIM_SCHEDULE_H_
