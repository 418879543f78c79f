// How good predictions are: errors, whether they rank plans as measurements do, what choosing by
// them would have cost, and whether they tell what fits from what does not. An average error hides
// the ranking: a model of 10 % error may choose worse than chance. Pure functions on vectors.
#ifndef MOAI_SCHEDULER_COST_SCORING_H_
#define MOAI_SCHEDULER_COST_SCORING_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace moai {

// The middle one, or the mean of the two in the middle; 0 of none.
double Median(std::vector<double> values);

// Relative errors |predicted / measured - 1| of rows.
struct ErrorSummary {
  size_t count = 0;
  double median = 0;
  double mean = 0;
  double p95 = 0;  // 95 of 100 rows have at most this error
  double worst = 0;
  double bias = 0;  // median of predicted / measured - 1: above 0, predictions are too high
};

// Requires measurements that are not 0 and as many predictions. Without rows: all 0.
ErrorSummary SummarizeErrors(absl::Span<const double> measured, absl::Span<const double> predicted);

// Correlation of ranks, from -1 to 1; equal values share their mean rank. 0 where either side is
// all equal or there are less than two rows.
double Spearman(absl::Span<const double> a, absl::Span<const double> b);

// Rows that were measured for the same task (same model, devices and batch) under several plans.
struct GroupRegret {
  std::string group;
  size_t rows = 0;
  // How much longer the plan with the lowest prediction took than the fastest one: 0 is perfect.
  double regret = 0;
  double spearman = 0;
  size_t chosen = 0;  // row with the lowest prediction
  size_t best = 0;    // row with the lowest measurement
};
struct RegretSummary {
  std::vector<GroupRegret> groups;  // in the order of first appearance
  double mean = 0;
  double worst = 0;
  double mean_spearman = 0;
};

// Of times: less is better. Groups of less than `least_rows` rows are left out. Requires a group
// and a prediction for each measurement.
RegretSummary SummarizeRegret(absl::Span<const std::string> group_of,
                              absl::Span<const double> measured, absl::Span<const double> predicted,
                              size_t least_rows = 2);

// Predictions of yes and no.
struct Confusion {
  size_t true_yes = 0;
  size_t false_yes = 0;  // said to fit, did not: a crash
  size_t true_no = 0;
  size_t false_no = 0;  // said not to fit, did: a plan that was missed
};
Confusion CountConfusion(const std::vector<bool>& actual, const std::vector<bool>& predicted);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_SCORING_H_
