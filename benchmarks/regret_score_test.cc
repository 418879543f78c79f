#include "benchmarks/regret_score.h"

#include <random>

#include "gtest/gtest.h"

namespace moai {
namespace {

using Rounds = std::vector<double>;

TEST(RegretScore, WithoutNoiseBothAreTheDifference) {
  const Regret regret = RegretOf({11, 11, 11, 11}, {{10, 10, 10, 10}, {12, 12, 12, 12}});
  EXPECT_NEAR(regret.held_out, 0.1, 1e-9);
  EXPECT_NEAR(regret.of_least, 0.1, 1e-9);
}

TEST(RegretScore, TheBestHasNone) {
  const Regret regret = RegretOf({9, 9}, {{10, 10}});
  EXPECT_EQ(regret.held_out, 0);
  EXPECT_EQ(regret.of_least, 0);
}

TEST(RegretScore, OneRoundIsNotHalved) {
  const Regret regret = RegretOf({12}, {{10}});
  EXPECT_NEAR(regret.held_out, 0.2, 1e-9);
}

TEST(RegretScore, PlansWithOtherRoundsAreNotComparedWith) {
  const Regret regret = RegretOf({12, 12}, {{10, 10}, {1}});
  EXPECT_NEAR(regret.held_out, 0.2, 1e-9);
}

// The plans of a round are measured at one time, and rounds at others.
TEST(RegretScore, SlowRoundsDoNotCount) {
  const Regret regret = RegretOf({11, 22, 11, 33}, {{10, 20, 10, 30}, {12, 24, 12, 36}});
  EXPECT_NEAR(regret.held_out, 0.1, 1e-9);
  EXPECT_NEAR(regret.of_least, 0.1, 1e-9);
}

// Eight plans of one true time, or of which the chosen one is a tenth slower, measured many times
// over with a tenth of noise.
TEST(RegretScore, NoiseDoesNotCountForRegret) {
  std::mt19937 random(7);
  std::normal_distribution<double> noise(0, 0.1);
  for (const double truth : {0.0, 0.1}) {
    double held_out = 0, of_least = 0;
    constexpr int kRuns = 2000;
    for (int run = 0; run < kRuns; ++run) {
      const auto measure = [&](double seconds) {
        Rounds rounds(8);
        for (double& round : rounds) round = seconds * (1 + noise(random));
        return rounds;
      };
      const Rounds chosen = measure(1 + truth);
      std::vector<Rounds> others;
      for (int i = 0; i < 7; ++i) others.push_back(measure(1));
      const Regret regret = RegretOf(chosen, others);
      held_out += regret.held_out / kRuns;
      of_least += regret.of_least / kRuns;
    }
    // Being at least 0 leaves a little.
    EXPECT_NEAR(held_out, truth, truth == 0 ? 0.025 : 0.015);
    EXPECT_GT(of_least, truth + 0.04);
  }
}

}  // namespace
}  // namespace moai
