#include "benchmarks/regret_score.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "scheduler/cost/scoring.h"

namespace moai {
namespace {

// Of every second round, from `first`.
double MedianOfHalf(const std::vector<double>& rounds, size_t first) {
  std::vector<double> half;
  for (size_t i = first; i < rounds.size(); i += 2) half.push_back(rounds[i]);
  return Median(std::move(half));
}

}  // namespace

Regret RegretOf(const std::vector<double>& chosen, const std::vector<std::vector<double>>& others) {
  // The chosen plan first; in each round shares of the round's mean.
  std::vector<std::vector<double>> plans = {chosen};
  for (const std::vector<double>& other : others) {
    if (other.size() == chosen.size()) plans.push_back(other);
  }
  for (size_t round = 0; round < chosen.size(); ++round) {
    double mean = 0;
    for (const std::vector<double>& plan : plans) mean += plan[round] / double(plans.size());
    for (std::vector<double>& plan : plans) plan[round] = mean > 0 ? plan[round] / mean : 1;
  }
  const auto regret_by = [&plans](const auto& choose, const auto& compare) {
    const auto best =
        std::min_element(plans.begin(), plans.end(),
                         [&choose](const auto& a, const auto& b) { return choose(a) < choose(b); });
    const double seconds = compare(*best);
    return seconds > 0 ? compare(plans[0]) / seconds - 1 : 0;
  };
  const auto all = [](const std::vector<double>& rounds) { return Median(rounds); };
  const auto even = [](const std::vector<double>& rounds) { return MedianOfHalf(rounds, 0); };
  const auto odd = [](const std::vector<double>& rounds) { return MedianOfHalf(rounds, 1); };
  Regret regret{.of_least = regret_by(all, all)};
  regret.held_out = chosen.size() < 2
                        ? regret.of_least
                        : std::max(0.0, (regret_by(even, odd) + regret_by(odd, even)) / 2);
  return regret;
}

}  // namespace moai
