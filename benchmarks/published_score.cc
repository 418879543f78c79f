#include "benchmarks/published_score.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/cost/calibrate.h"
#include "scheduler/cost/scoring.h"

namespace moai {
namespace {

// Pairs of measured and predicted.
struct Pairs {
  std::vector<double> measured, predicted;
  void Add(double m, double p) {
    measured.push_back(m);
    predicted.push_back(p);
  }
  std::optional<ErrorSummary> Errors() const {
    if (measured.empty()) return std::nullopt;
    return SummarizeErrors(measured, predicted);
  }
};

// The factor that brings predictions nearest to measurements, without the row at `left_out`.
std::optional<double> FitScalar(const Pairs& pairs, size_t left_out) {
  std::vector<size_t> rows;
  for (size_t i = 0; i < pairs.measured.size(); ++i) {
    if (i != left_out) rows.push_back(i);
  }
  if (rows.empty()) return std::nullopt;
  const std::vector<FitParameter> parameters = {{.name = "scalar", .low = 0.01, .high = 100}};
  const auto predict = [&](absl::Span<const double> values, size_t row) {
    return values[0] * pairs.predicted[row];
  };
  const absl::StatusOr<FitResult> fit = Fit(parameters, pairs.measured, rows, predict);
  if (!fit.ok()) return std::nullopt;
  return fit->values[0];
}

void ScoreTimes(absl::Span<const PredictedRow> rows, PublishedScore& score) {
  std::map<std::string, Pairs> sources;
  Pairs all, scaled;
  for (const PredictedRow& row : rows) {
    ++score.by_source[row.source].predicted;
    if (row.seconds <= 0) continue;
    all.Add(row.seconds, row.predicted_seconds);
    sources[row.source].Add(row.seconds, row.predicted_seconds);
  }
  for (const auto& [name, pairs] : sources) {
    SourceScore& source = score.by_source[name];
    source.time_median = pairs.Errors()->median;
    source.scalar = FitScalar(pairs, pairs.measured.size());
    Pairs own;
    for (size_t i = 0; i < pairs.measured.size(); ++i) {
      const std::optional<double> scalar = FitScalar(pairs, i);
      if (scalar.has_value()) own.Add(pairs.measured[i], *scalar * pairs.predicted[i]);
    }
    for (size_t i = 0; i < own.measured.size(); ++i) {
      scaled.Add(own.measured[i], own.predicted[i]);
    }
    if (const auto errors = own.Errors(); errors.has_value()) {
      source.time_median_scaled = errors->median;
      source.time_p95_scaled = errors->p95;
    }
  }
  if (const auto errors = all.Errors(); errors.has_value()) {
    score.time_median = errors->median;
    score.time_bias = errors->bias;
    score.spearman_all = Spearman(all.measured, all.predicted);
  }
  score.scaled_rows = scaled.measured.size();
  if (const auto errors = scaled.Errors(); errors.has_value()) {
    score.time_median_scaled = errors->median;
    score.time_p95_scaled = errors->p95;
  }
}

void ScoreMemory(absl::Span<const PredictedRow> rows, PublishedScore& score) {
  Pairs all;
  std::map<std::string, Pairs> sources;
  std::vector<bool> fits, predicted;
  for (const PredictedRow& row : rows) {
    if (!row.memory_stated) continue;
    // A time was measured: it ran. A peak alone may be a calculation.
    fits.push_back(row.seconds > 0 || row.bytes <= row.limit_bytes);
    predicted.push_back(row.needed_bytes <= row.limit_bytes);
    if (row.bytes <= 0) continue;
    all.Add(row.bytes, row.predicted_bytes);
    sources[row.source].Add(row.bytes, row.predicted_bytes);
  }
  for (const auto& [name, pairs] : sources) {
    score.by_source[name].memory_median = pairs.Errors()->median;
  }
  score.memory_rows = all.measured.size();
  if (const auto errors = all.Errors(); errors.has_value()) score.memory_median = errors->median;
  const Confusion confusion = CountConfusion(fits, predicted);
  score.fits_rows = fits.size();
  score.false_fits = confusion.false_yes;
  score.false_refusals = confusion.false_no;
}

void ScoreRegret(absl::Span<const PredictedRow> rows, PublishedScore& score) {
  std::map<std::pair<std::string, std::string>, const PredictedRow*> fastest;
  for (const PredictedRow& row : rows) {
    if (row.seconds <= 0) continue;
    const PredictedRow*& best = fastest[{row.task, row.plan}];
    if (best == nullptr || row.seconds < best->seconds) best = &row;
  }
  std::vector<std::string> tasks;
  Pairs pairs;
  for (const auto& [key, row] : fastest) {
    tasks.push_back(key.first);
    pairs.Add(row->seconds, row->predicted_seconds);
  }
  const RegretSummary regret = SummarizeRegret(tasks, pairs.measured, pairs.predicted);
  score.tasks = regret.groups.size();
  if (regret.groups.empty()) return;
  score.mean_regret = regret.mean;
  score.max_regret = regret.worst;
  score.spearman = regret.mean_spearman;
}

}  // namespace

PublishedScore ScorePublished(absl::Span<const PredictedRow> rows) {
  PublishedScore score;
  ScoreTimes(rows, score);
  ScoreMemory(rows, score);
  ScoreRegret(rows, score);
  return score;
}

}  // namespace moai
