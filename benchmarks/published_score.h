// How well predictions of published rows agree with what was measured.
#ifndef MOAI_BENCHMARKS_PUBLISHED_SCORE_H_
#define MOAI_BENCHMARKS_PUBLISHED_SCORE_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace moai {

// One row that was predicted.
struct PredictedRow {
  std::string source;
  std::string task;  // what plans compete for: source, model, devices, batch
  std::string plan;  // equal where the planner sees no difference
  double seconds = 0, predicted_seconds = 0;  // measured 0: not stated
  double bytes = 0, predicted_bytes = 0;      // a peak as it is stated; measured 0: not stated
  double needed_bytes = 0;                    // predicted: with less it does not run
  double limit_bytes = 0;                     // of a device
  bool memory_stated = false;                 // what is recomputed is stated: memory may be judged
};

struct SourceScore {
  size_t predicted = 0;
  std::optional<double> time_median, time_median_scaled, time_p95_scaled, memory_median;
  std::optional<double> scalar;  // measured / predicted, fitted to all rows of the source
};

// Errors as fractions; nullopt where there are no rows to say it from.
struct PublishedScore {
  std::optional<double> time_median, time_bias;
  // With one scalar a source, fitted to the source's other rows. A source of one row has none and
  // is left out.
  size_t scaled_rows = 0;
  std::optional<double> time_median_scaled, time_p95_scaled;
  size_t memory_rows = 0;
  std::optional<double> memory_median;
  // A row that ran, or whose peak is within the device, fits.
  size_t fits_rows = 0, false_fits = 0, false_refusals = 0;
  // Over tasks with several plans; of equal plans the fastest measurement counts.
  size_t tasks = 0;
  std::optional<double> mean_regret, max_regret, spearman;
  std::optional<double> spearman_all;  // over all rows
  std::map<std::string, SourceScore> by_source;
};

PublishedScore ScorePublished(absl::Span<const PredictedRow> rows);

}  // namespace moai

#endif  // MOAI_BENCHMARKS_PUBLISHED_SCORE_H_
