#include "scheduler/cost/scoring.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace moai {
namespace {

double Mean(absl::Span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<double> Ranks(absl::Span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
    }
    begin = end;
  }
  return ranks;
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

ErrorSummary SummarizeErrors(absl::Span<const double> measured,
                             absl::Span<const double> predicted) {
  ErrorSummary summary;
  summary.count = measured.size();
  if (measured.empty()) return summary;
  std::vector<double> signed_errors;
  std::vector<double> errors;
  for (size_t i = 0; i < measured.size(); ++i) {
    signed_errors.push_back(predicted[i] / measured[i] - 1);
    errors.push_back(std::abs(signed_errors.back()));
  }
  std::sort(errors.begin(), errors.end());
  summary.median = Median(errors);
  summary.mean = Mean(errors);
  summary.worst = errors.back();
  const double needed = std::ceil(0.95 * static_cast<double>(errors.size()));
  summary.p95 = errors[static_cast<size_t>(std::max(1.0, needed)) - 1];
  summary.bias = Median(std::move(signed_errors));
  return summary;
}

double Spearman(absl::Span<const double> a, absl::Span<const double> b) {
  if (a.size() < 2 || a.size() != b.size()) return 0;
  const std::vector<double> x = Ranks(a);
  const std::vector<double> y = Ranks(b);
  const double mean = static_cast<double>(a.size() - 1) / 2;
  double xy = 0;
  double xx = 0;
  double yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

RegretSummary SummarizeRegret(absl::Span<const std::string> group_of,
                              absl::Span<const double> measured, absl::Span<const double> predicted,
                              size_t least_rows) {
  std::vector<std::vector<size_t>> groups;
  absl::flat_hash_map<std::string, size_t> numbers;
  for (size_t row = 0; row < group_of.size(); ++row) {
    const auto [found, added] = numbers.try_emplace(group_of[row], groups.size());
    if (added) groups.emplace_back();
    groups[found->second].push_back(row);
  }
  RegretSummary summary;
  for (const std::vector<size_t>& rows : groups) {
    if (rows.size() < std::max<size_t>(least_rows, 1)) continue;
    GroupRegret group{.group = group_of[rows[0]], .rows = rows.size()};
    const auto lowest = [&](absl::Span<const double> of) {
      return *std::min_element(rows.begin(), rows.end(),
                               [&](size_t a, size_t b) { return of[a] < of[b]; });
    };
    group.chosen = lowest(predicted);
    group.best = lowest(measured);
    group.regret = measured[group.chosen] / measured[group.best] - 1;
    std::vector<double> measured_here;
    std::vector<double> predicted_here;
    for (size_t row : rows) {
      measured_here.push_back(measured[row]);
      predicted_here.push_back(predicted[row]);
    }
    group.spearman = Spearman(measured_here, predicted_here);
    summary.worst = std::max(summary.worst, group.regret);
    summary.mean += group.regret;
    summary.mean_spearman += group.spearman;
    summary.groups.push_back(std::move(group));
  }
  if (!summary.groups.empty()) {
    summary.mean /= static_cast<double>(summary.groups.size());
    summary.mean_spearman /= static_cast<double>(summary.groups.size());
  }
  return summary;
}

Confusion CountConfusion(const std::vector<bool>& actual, const std::vector<bool>& predicted) {
  Confusion confusion;
  for (size_t i = 0; i < actual.size() && i < predicted.size(); ++i) {
    if (predicted[i]) {
      ++(actual[i] ? confusion.true_yes : confusion.false_yes);
    } else {
      ++(actual[i] ? confusion.false_no : confusion.true_no);
    }
  }
  return confusion;
}

}  // namespace moai
