#include "scheduler/cost/scoring.h"

#include <gtest/gtest.h>

namespace moai {
namespace {

TEST(ScoringTest, Errors) {
  const ErrorSummary errors = SummarizeErrors({10, 10, 10, 10}, {11, 9.5, 13, 10});
  EXPECT_EQ(errors.count, 4u);
  EXPECT_NEAR(errors.median, 0.075, 1e-12);
  EXPECT_NEAR(errors.mean, 0.1125, 1e-12);
  EXPECT_NEAR(errors.p95, 0.3, 1e-12);
  EXPECT_NEAR(errors.worst, 0.3, 1e-12);
  EXPECT_NEAR(errors.bias, 0.05, 1e-12);
  // Of a hundred rows, five may be worse.
  std::vector<double> predicted(100, 10.5);
  for (int i = 0; i < 5; ++i) predicted[i] = 30;
  EXPECT_NEAR(SummarizeErrors(std::vector<double>(100, 10), predicted).p95, 0.05, 1e-12);
  EXPECT_EQ(SummarizeErrors({}, {}).count, 0u);
}

TEST(ScoringTest, MedianOfOddAndEven) {
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
}

TEST(ScoringTest, SpearmanSeesRanksOnly) {
  EXPECT_DOUBLE_EQ(Spearman({1, 2, 3, 4}, {10, 100, 1000, 10000}), 1);
  EXPECT_DOUBLE_EQ(Spearman({1, 2, 3, 4}, {4, 3, 2, 1}), -1);
  // Ranks 0 1 2 3 and 1 0 3 2: 1 - 6 * 4 / (4 * 15).
  EXPECT_DOUBLE_EQ(Spearman({1, 2, 3, 4}, {2, 1, 4, 3}), 0.6);
  EXPECT_EQ(Spearman({1, 2, 3}, {5, 5, 5}), 0);
  // Equal values share their mean rank.
  EXPECT_DOUBLE_EQ(Spearman({1, 1, 2, 2}, {3, 3, 4, 4}), 1);
  EXPECT_EQ(Spearman({1}, {1}), 0);
}

TEST(ScoringTest, RegretIsWhatTheChosenPlanLoses) {
  const std::vector<std::string> groups = {"a", "b", "a", "b", "a", "c"};
  const std::vector<double> measured = {10, 5, 8, 6, 12, 1};
  const std::vector<double> predicted = {7, 1, 9, 2, 11, 1};
  const RegretSummary regret = SummarizeRegret(groups, measured, predicted);
  ASSERT_EQ(regret.groups.size(), 2u);  // "c" has one plan only
  EXPECT_EQ(regret.groups[0].group, "a");
  EXPECT_EQ(regret.groups[0].chosen, 0u);
  EXPECT_EQ(regret.groups[0].best, 2u);
  EXPECT_NEAR(regret.groups[0].regret, 0.25, 1e-12);
  EXPECT_NEAR(regret.groups[0].spearman, 0.5, 1e-12);
  EXPECT_EQ(regret.groups[1].regret, 0);
  EXPECT_NEAR(regret.mean, 0.125, 1e-12);
  EXPECT_NEAR(regret.worst, 0.25, 1e-12);
  EXPECT_NEAR(regret.mean_spearman, 0.75, 1e-12);
  EXPECT_EQ(SummarizeRegret(groups, measured, predicted, 3).groups.size(), 1u);
}

TEST(ScoringTest, ConfusionTellsCrashesFromMissedPlans) {
  const Confusion c =
      CountConfusion({true, true, false, false, false}, {true, false, true, false, false});
  EXPECT_EQ(c.true_yes, 1u);
  EXPECT_EQ(c.false_no, 1u);
  EXPECT_EQ(c.false_yes, 1u);
  EXPECT_EQ(c.true_no, 2u);
}

}  // namespace
}  // namespace moai
