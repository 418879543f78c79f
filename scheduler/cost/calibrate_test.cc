#include "scheduler/cost/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace moai {
namespace {

// Steps of a made-up device: work / rate + bytes / bandwidth + a constant.
struct Steps {
  std::vector<double> work, bytes, seconds;
  std::vector<std::string> source;

  explicit Steps(int count, double noise = 0) {
    std::mt19937_64 random(5);
    std::uniform_real_distribution<double> exponent(0, 3);
    std::normal_distribution<double> error(0, noise);
    for (int i = 0; i < count; ++i) {
      work.push_back(1e12 * std::pow(10, exponent(random)));
      bytes.push_back(1e9 * std::pow(10, exponent(random)));
      const double factor = noise > 0 ? std::exp(error(random)) : 1;
      seconds.push_back(Predict({2e14, 1.5e12, 3e-3}, i) * factor);
      source.push_back(i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c");
    }
  }
  double Predict(absl::Span<const double> p, size_t row) const {
    return work[row] / p[0] + bytes[row] / p[1] + p[2];
  }
  RowPrediction prediction() const {
    return [this](absl::Span<const double> p, size_t row) { return Predict(p, row); };
  }
};

const std::vector<FitParameter> kParameters = {
    {"rate", 1e14, 1e12, 1e16}, {"bandwidth", 1e12, 1e10, 1e14}, {"constant", 1e-3, 1e-6, 1}};

std::vector<size_t> All(size_t count) {
  std::vector<size_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

TEST(CalibrateTest, FindsTheConstantsThatMadeTheRows) {
  const Steps steps(60);
  const auto fit = Fit(kParameters, steps.seconds, All(60), steps.prediction());
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_NEAR(fit->values[0] / 2e14, 1, 0.01);
  EXPECT_NEAR(fit->values[1] / 1.5e12, 1, 0.01);
  EXPECT_NEAR(fit->values[2] / 3e-3, 1, 0.02);
  EXPECT_LT(fit->loss, 1e-5);
  EXPECT_GT(fit->evaluations, 10);
}

// One row in ten is ten times too long: the others still decide.
TEST(CalibrateTest, OutliersBendLittle) {
  Steps steps(60, 0.02);
  for (size_t i = 0; i < 60; i += 10) steps.seconds[i] *= 10;
  const auto fit = Fit(kParameters, steps.seconds, All(60), steps.prediction());
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_NEAR(fit->values[0] / 2e14, 1, 0.15);
  EXPECT_NEAR(fit->values[1] / 1.5e12, 1, 0.15);
}

TEST(CalibrateTest, StaysInsideTheRanges) {
  const Steps steps(30);
  std::vector<FitParameter> narrow = kParameters;
  narrow[0].high = 1.2e14;
  const auto fit = Fit(narrow, steps.seconds, All(30), steps.prediction());
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_NEAR(fit->values[0], 1.2e14, 1e10);
}

TEST(CalibrateTest, OnlyTheGivenRowsCount) {
  Steps steps(30);
  steps.seconds[0] = 1e9;
  std::vector<size_t> rows = All(30);
  rows.erase(rows.begin());
  const auto fit = Fit(kParameters, steps.seconds, rows, steps.prediction());
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_LT(fit->loss, 1e-5);
}

TEST(CalibrateTest, WhatCannotBeFittedIsNamed) {
  Steps steps(5);
  EXPECT_FALSE(Fit(kParameters, steps.seconds, {}, steps.prediction()).ok());
  steps.seconds[3] = 0;
  EXPECT_NE(
      Fit(kParameters, steps.seconds, All(5), steps.prediction()).status().message().find("row 3"),
      std::string::npos);
  EXPECT_FALSE(Fit(kParameters, steps.seconds, {9}, steps.prediction()).ok());
  std::vector<FitParameter> wrong = kParameters;
  wrong[1].initial = 0;
  EXPECT_NE(Fit(wrong, steps.seconds, {0}, steps.prediction()).status().message().find("bandwidth"),
            std::string::npos);
  const RowPrediction negative = [](absl::Span<const double>, size_t) { return -1.0; };
  EXPECT_FALSE(Fit(kParameters, steps.seconds, {0}, negative).ok());
}

// Source c runs at half the rate. Held out, it is predicted by the others' constants; it never
// helps its own prediction.
TEST(CalibrateTest, AHeldOutSourceIsPredictedByTheOthers) {
  Steps steps(60);
  for (size_t i = 0; i < 60; ++i) {
    if (steps.source[i] == "c") steps.seconds[i] *= 2;
  }
  const auto held = LeaveOneSourceOut(kParameters, steps.seconds, steps.source, steps.prediction());
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->sources, (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_EQ(held->parameters.size(), 3u);
  EXPECT_NEAR(held->parameters[2][0] / 2e14, 1, 0.01);
  for (size_t i = 0; i < 60; ++i) {
    if (steps.source[i] != "c") continue;
    EXPECT_NEAR(held->predicted[i] / steps.seconds[i], 0.5, 0.01);
  }
  const std::vector<std::string> one(60, "a");
  EXPECT_FALSE(LeaveOneSourceOut(kParameters, steps.seconds, one, steps.prediction()).ok());
  EXPECT_FALSE(LeaveOneSourceOut(kParameters, steps.seconds, {"a"}, steps.prediction()).ok());
}

}  // namespace
}  // namespace moai
