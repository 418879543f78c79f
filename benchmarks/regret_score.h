// How much slower a plan is than the fastest of several, when all are measured with noise.
#ifndef MOAI_BENCHMARKS_REGRET_SCORE_H_
#define MOAI_BENCHMARKS_REGRET_SCORE_H_

#include <vector>

namespace moai {

// As shares: 0.1 is a tenth slower.
struct Regret {
  // Against the plan that is fastest in one half of the rounds, by the other half of them; the mean
  // of both ways round. What is measured of a plan does not decide that it is compared with, so
  // that noise counts neither for the chosen plan nor against it. At least 0.
  double held_out = 0;
  // Against the one that seems fastest in all rounds. Of plans that are equal and noisy one always
  // does: this is above 0 even if the chosen plan is the best.
  double of_least = 0;
};

// `chosen`: its seconds in each round. `others`: those of other plans, in the same rounds; those
// that were not measured in as many are not compared with. Each round counts by what plans took of
// its mean, since a machine that is slow for a while slows all of a round. With one round there is
// nothing to hold out.
Regret RegretOf(const std::vector<double>& chosen, const std::vector<std::vector<double>>& others);

}  // namespace moai

#endif  // MOAI_BENCHMARKS_REGRET_SCORE_H_
