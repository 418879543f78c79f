// Fits the few constants that no data sheet states to measured rows, and says how good predictions
// are. Pure functions on vectors: what a row is, and how it is predicted, is the caller's.
#ifndef MOAI_SCHEDULER_COST_CALIBRATE_H_
#define MOAI_SCHEDULER_COST_CALIBRATE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace moai {

// A positive constant and where it may lie. Searched by ratios, so that seconds and bytes per
// second are the same to the search.
struct FitParameter {
  std::string name;
  double initial = 1;
  double low = 1e-3;
  double high = 1e3;
};

// The positive quantity (seconds, tokens per second) that these constants predict of a row. Called
// from one thread.
using RowPrediction = std::function<double(absl::Span<const double> parameters, size_t row)>;

struct FitOptions {
  int most_sweeps = 200;    // over all parameters
  double first_step = 0.3;  // of the logarithm; halved where no step helps
  double smallest_step = 1e-3;
  // Errors beyond this count linearly, not squared (Huber): a wrong row shall not bend the rest.
  double outlier = 0.3;  // of the logarithm: 35 %
};

struct FitResult {
  std::vector<double> values;  // of the parameters, in order
  double loss = 0;             // mean over rows of the squared logarithm of predicted / measured
  int evaluations = 0;         // of all rows
};

// Least squares of log(predicted / measured) over `rows` (positions in `measured`; each row counts
// once) by pattern search: no derivatives. InvalidArgument, with the row or the parameter, where a
// measurement or a prediction at the initial values is not positive, or a range does not hold its
// initial value.
absl::StatusOr<FitResult> Fit(absl::Span<const FitParameter> parameters,
                              absl::Span<const double> measured, absl::Span<const size_t> rows,
                              const RowPrediction& predict, const FitOptions& options = {});

// Each source's rows predicted by constants that were fitted to all other sources' rows: what to
// expect of a system nobody has measured.
struct HeldOut {
  std::vector<double> predicted;                // by row
  std::vector<std::string> sources;             // in the order of first appearance
  std::vector<std::vector<double>> parameters;  // of the fit without that source
};
// Requires as many sources as measurements, and two different ones.
absl::StatusOr<HeldOut> LeaveOneSourceOut(absl::Span<const FitParameter> parameters,
                                          absl::Span<const double> measured,
                                          absl::Span<const std::string> source_of,
                                          const RowPrediction& predict,
                                          const FitOptions& options = {});

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_CALIBRATE_H_
