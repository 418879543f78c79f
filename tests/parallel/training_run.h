// Small models that train on a cluster, and what their steps gave: for comparing runs on different
// accelerators.
#ifndef MOAI_TESTS_PARALLEL_TRAINING_RUN_H_
#define MOAI_TESTS_PARALLEL_TRAINING_RUN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/end_to_end/cluster.h"

namespace moai {

enum class SmallModel {
  kLlama,    // with dropout
  kResnet,   // with batch norm, whose statistics are of the whole batch
  kMixtral,  // a mixture of four experts, of which tokens may be dropped
};

std::string Name(SmallModel model);

struct NamedNumbers {
  std::string name;
  std::vector<float> numbers;
};

struct StepResult {
  double loss = 0;
  std::vector<NamedNumbers> gradients;
  // Parameters, buffers and the optimizer's moments after the step.
  std::vector<NamedNumbers> state;
};

struct TrainingRun {
  SmallModel model = SmallModel::kLlama;
  int64_t batch = 8;
  int steps = 3;
  // Of a free run: read each loss before its backward pass, which makes the step two parts.
  bool reads_first = false;
};

// Trains on a session of its own, each step one graph. Where `from` is given, step k > 0 starts
// from the state of `from[k - 1]` instead of its own.
absl::StatusOr<std::vector<StepResult>> TrainSteps(const Cluster& cluster, const TrainingRun& run,
                                                   const std::vector<StepResult>* from = nullptr);

// The losses of a free run, in which nothing else is read. `bytes_in_use`: of the fullest device at
// its end, with the space for temporaries.
absl::StatusOr<std::vector<double>> TrainFreely(const Cluster& cluster, const TrainingRun& run,
                                                uint64_t* bytes_in_use = nullptr);

// Loss within 1e-5 of itself; gradients, moments and buffers within 1e-4 of their norm; parameters
// within 1e-4 of how far the step moved them. InvalidArgument names the first that is not.
absl::Status Agree(const std::vector<StepResult>& got, const std::vector<StepResult>& want);

}  // namespace moai

#endif  // MOAI_TESTS_PARALLEL_TRAINING_RUN_H_
