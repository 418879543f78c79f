#include "scheduler/cost/calibrate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

class PatternSearch {
 public:
  PatternSearch(absl::Span<const FitParameter> parameters, absl::Span<const double> measured,
                absl::Span<const size_t> rows, const RowPrediction& predict,
                const FitOptions& options)
      : parameters_(parameters),
        measured_(measured),
        rows_(rows),
        predict_(predict),
        options_(options) {}

  absl::Status Check() const;
  FitResult Run();

 private:
  double Loss(const std::vector<double>& logs);
  // Tries a step up and down along each parameter; keeps what helps.
  bool Sweep(std::vector<double>& logs, double& loss, double step);
  double Clamp(size_t i, double log) const {
    return std::clamp(log, std::log(parameters_[i].low), std::log(parameters_[i].high));
  }

  const absl::Span<const FitParameter> parameters_;
  const absl::Span<const double> measured_;
  const absl::Span<const size_t> rows_;
  const RowPrediction& predict_;
  const FitOptions options_;
  int evaluations_ = 0;
};

absl::Status PatternSearch::Check() const {
  std::vector<double> values;
  for (const FitParameter& p : parameters_) {
    if (!(p.low > 0) || !(p.low <= p.initial) || !(p.initial <= p.high)) {
      return absl::InvalidArgumentError(absl::StrCat("parameter '", p.name, "': ", p.initial,
                                                     " is not in its range of ", p.low, " to ",
                                                     p.high, " above 0"));
    }
    values.push_back(p.initial);
  }
  if (rows_.empty()) return absl::InvalidArgumentError("there are no rows to fit to");
  for (size_t row : rows_) {
    if (row >= measured_.size() || !(measured_[row] > 0) || !std::isfinite(measured_[row])) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, " has no positive measurement"));
    }
    const double predicted = predict_(values, row);
    if (!(predicted > 0) || !std::isfinite(predicted)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the prediction of row ", row, " is ", predicted, ", not positive"));
    }
  }
  return absl::OkStatus();
}

double PatternSearch::Loss(const std::vector<double>& logs) {
  ++evaluations_;
  std::vector<double> values;
  for (double log : logs) values.push_back(std::exp(log));
  double sum = 0;
  for (size_t row : rows_) {
    const double error = std::abs(std::log(predict_(values, row) / measured_[row]));
    // Where a prediction breaks down the step is not taken.
    if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
    sum += error <= options_.outlier ? error * error
                                     : options_.outlier * (2 * error - options_.outlier);
  }
  return sum / static_cast<double>(rows_.size());
}

bool PatternSearch::Sweep(std::vector<double>& logs, double& loss, double step) {
  bool helped = false;
  for (size_t i = 0; i < logs.size(); ++i) {
    const double before = logs[i];
    for (double direction : {step, -step}) {
      logs[i] = Clamp(i, before + direction);
      const double changed = logs[i] == before ? loss : Loss(logs);
      if (changed < loss) {
        loss = changed;
        helped = true;
        break;
      }
      logs[i] = before;
    }
  }
  return helped;
}

// Hooke and Jeeves, "Direct search solution of numerical and statistical problems", 1961.
FitResult PatternSearch::Run() {
  std::vector<double> logs;
  for (const FitParameter& p : parameters_) logs.push_back(std::log(p.initial));
  double loss = Loss(logs);
  double step = options_.first_step;
  for (int sweep = 0; sweep < options_.most_sweeps && step >= options_.smallest_step; ++sweep) {
    const std::vector<double> before = logs;
    if (!Sweep(logs, loss, step)) {
      step /= 2;
      continue;
    }
    // Once more the same way, as long as that helps: along valleys between parameters.
    while (true) {
      std::vector<double> further = logs;
      for (size_t i = 0; i < logs.size(); ++i) further[i] = Clamp(i, 2 * logs[i] - before[i]);
      const double changed = Loss(further);
      if (!(changed < loss)) break;
      logs = further;
      loss = changed;
    }
  }
  FitResult result;
  for (double log : logs) result.values.push_back(std::exp(log));
  result.loss = loss;
  result.evaluations = evaluations_;
  return result;
}

}  // namespace

absl::StatusOr<FitResult> Fit(absl::Span<const FitParameter> parameters,
                              absl::Span<const double> measured, absl::Span<const size_t> rows,
                              const RowPrediction& predict, const FitOptions& options) {
  PatternSearch search(parameters, measured, rows, predict, options);
  MOAI_RETURN_IF_ERROR(search.Check());
  return search.Run();
}

absl::StatusOr<HeldOut> LeaveOneSourceOut(absl::Span<const FitParameter> parameters,
                                          absl::Span<const double> measured,
                                          absl::Span<const std::string> source_of,
                                          const RowPrediction& predict, const FitOptions& options) {
  if (source_of.size() != measured.size()) {
    return absl::InvalidArgumentError(absl::StrCat(measured.size(), " measurements come from ",
                                                   source_of.size(), " sources: need one each"));
  }
  HeldOut result;
  result.predicted.resize(measured.size());
  for (const std::string& source : source_of) {
    if (std::find(result.sources.begin(), result.sources.end(), source) == result.sources.end()) {
      result.sources.push_back(source);
    }
  }
  if (result.sources.size() < 2) {
    return absl::InvalidArgumentError("all rows are from one source: nothing is left to fit to");
  }
  for (const std::string& source : result.sources) {
    std::vector<size_t> others;
    for (size_t row = 0; row < measured.size(); ++row) {
      if (source_of[row] != source) others.push_back(row);
    }
    MOAI_ASSIGN_OR_RETURN(FitResult fit, Fit(parameters, measured, others, predict, options));
    for (size_t row = 0; row < measured.size(); ++row) {
      if (source_of[row] == source) result.predicted[row] = predict(fit.values, row);
    }
    result.parameters.push_back(std::move(fit.values));
  }
  return result;
}

}  // namespace moai
