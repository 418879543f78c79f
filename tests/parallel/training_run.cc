#include "tests/parallel/training_run.h"

#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "client/models/mixtral.h"
#include "client/models/resnet.h"

namespace moai {
namespace {

// The vocabulary, or the classes of images.
constexpr int64_t kClasses = 64, kSequence = 12;

struct Program {
  std::unique_ptr<nn::Module> module;
  std::function<Tensor(int step)> loss;  // of another batch in each step
};

// Rows count by strides of their own, with a seventh of the ids out of line.
Tensor Ids(int64_t batch, int64_t length, int64_t shift) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < batch; ++row) {
    for (int64_t i = shift; i < shift + length; ++i) {
      const int64_t id = i % 7 == 3 ? 11 * row + 5 * i * i : (1 + row % 3) * i + 9 * row;
      ids.push_back(int32_t(id % kClasses));
    }
  }
  return Tensor::FromData(ids, {batch, length});
}

template <typename Model, typename Config>
Program Language(const Config& config, int64_t batch) {
  auto model = std::make_unique<Model>(config);
  Model* pointer = model.get();
  return {std::move(model), [pointer, batch](int step) {
            return pointer->Loss(Ids(batch, kSequence, step), Ids(batch, kSequence, step + 1));
          }};
}

Program Make(SmallModel model, int64_t batch) {
  switch (model) {
    case SmallModel::kLlama:
      return Language<models::Llama>(models::LlamaConfig{.vocabulary = kClasses,
                                                         .hidden = 32,
                                                         .ffn = 48,
                                                         .layers = 2,
                                                         .heads = 4,
                                                         .kv_heads = 2,
                                                         .sequence = kSequence,
                                                         .dropout = 0.1},
                                     batch);
    case SmallModel::kMixtral:
      return Language<models::Mixtral>(models::MixtralConfig{.vocabulary = kClasses,
                                                             .hidden = 32,
                                                             .ffn = 40,
                                                             .layers = 2,
                                                             .heads = 4,
                                                             .kv_heads = 2,
                                                             .experts = 4,
                                                             .sequence = kSequence,
                                                             .capacity_factor = 1.0},
                                       batch);
    case SmallModel::kResnet:
      break;
  }
  auto resnet = std::make_unique<models::Resnet>(
      models::ResnetConfig{.blocks = {1, 1, 1, 1}, .width = 8, .classes = kClasses, .image = 32});
  models::Resnet* pointer = resnet.get();
  return {std::move(resnet), [pointer, batch](int step) {
            return pointer->Loss(Normal({batch, 3, 32, 32}), Ids(batch, 1, step).Reshape({batch}));
          }};
}

struct Training {
  Program program;
  std::unique_ptr<optim::AdamW> optimizer;
};

Training Begin(const TrainingRun& run) {
  ManualSeed(11);
  Program program = Make(run.model, run.batch);
  // An epsilon that the second moments do not vanish beside: without it an update is the sign of a
  // gradient, and says nothing of its size where it is almost 0.
  auto optimizer = std::make_unique<optim::AdamW>(
      program.module->NamedParameters(),
      optim::AdamOptions{.learning_rate = 3e-3, .eps = 1e-4, .weight_decay = 0.05});
  return {std::move(program), std::move(optimizer)};
}

// Parameters first, in the order of the gradients.
std::vector<nn::NamedTensor> State(const Training& training) {
  std::vector<nn::NamedTensor> tensors = training.program.module->NamedParameters();
  for (nn::NamedTensor& tensor : training.program.module->StateDict()) {
    if (!tensor.tensor.requires_grad()) tensors.push_back(std::move(tensor));
  }
  for (nn::NamedTensor& moment : training.optimizer->StateDict()) tensors.push_back(moment);
  return tensors;
}

absl::StatusOr<NamedNumbers> ReadNumbers(const std::string& name, const Tensor& tensor) {
  MOAI_ASSIGN_OR_RETURN(std::vector<float> numbers, tensor.ToVector<float>());
  return NamedNumbers{name, std::move(numbers)};
}

absl::Status Restore(const std::vector<nn::NamedTensor>& tensors, const StepResult& from) {
  const NoGradGuard no_grad;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Tensor tensor = tensors[i].tensor;
    MOAI_RETURN_IF_ERROR(
        tensor.Copy_(Tensor::FromData(from.state[i].numbers, tensor.shape())).status());
  }
  return absl::OkStatus();
}

double Norm(const std::vector<float>& numbers) {
  double squares = 0;
  for (const float number : numbers) squares += double(number) * number;
  return std::sqrt(squares);
}

std::vector<float> Minus(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return difference;
}

// `norm` is what the distance is measured against.
absl::Status Near(const NamedNumbers& got, const NamedNumbers& want, double norm) {
  constexpr double kOfNorm = 1e-4;
  // What is 0 but for rounding has no norm to speak of.
  constexpr double kAnElement = 1e-7;
  if (got.name != want.name || got.numbers.size() != want.numbers.size()) {
    return absl::InvalidArgumentError(absl::StrCat(got.name, " beside ", want.name));
  }
  const double off = Norm(Minus(got.numbers, want.numbers));
  if (off <= kOfNorm * norm + kAnElement * std::sqrt(double(want.numbers.size()))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(want.name, " is off by ", off, ", measured against ", norm));
}

}  // namespace

std::string Name(SmallModel model) {
  switch (model) {
    case SmallModel::kLlama:
      return "Llama";
    case SmallModel::kResnet:
      return "Resnet";
    case SmallModel::kMixtral:
      return "Mixtral";
  }
  return "";
}

absl::StatusOr<std::vector<StepResult>> TrainSteps(const Cluster& cluster, const TrainingRun& run,
                                                   const std::vector<StepResult>* from) {
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = cluster.address(), .log = false}));
  const Training training = Begin(run);
  const std::vector<nn::NamedTensor> state = State(training);
  std::vector<StepResult> results;
  for (int step = 0; step < run.steps; ++step) {
    if (from != nullptr && step > 0) {
      MOAI_RETURN_IF_ERROR(Restore(state, (*from)[size_t(step) - 1]));
      // A graph of its own: the step's stays as it was.
      MOAI_RETURN_IF_ERROR(accelerator.Synchronize());
    }
    const Tensor loss = training.program.loss(step);
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(training.optimizer->Step());
    StepResult& result = results.emplace_back();
    MOAI_ASSIGN_OR_RETURN(result.loss, loss.Item());
    for (const nn::NamedTensor& parameter : training.program.module->NamedParameters()) {
      MOAI_ASSIGN_OR_RETURN(result.gradients.emplace_back(),
                            ReadNumbers(parameter.name, parameter.tensor.Grad()));
    }
    for (const nn::NamedTensor& tensor : state) {
      MOAI_ASSIGN_OR_RETURN(result.state.emplace_back(), ReadNumbers(tensor.name, tensor.tensor));
    }
    training.optimizer->ZeroGrad();
  }
  return results;
}

absl::StatusOr<std::vector<double>> TrainFreely(const Cluster& cluster, const TrainingRun& run,
                                                uint64_t* bytes_in_use) {
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = cluster.address(), .log = false}));
  const Training training = Begin(run);
  std::vector<double> losses;
  for (int step = 0; step < run.steps; ++step) {
    const Tensor loss = training.program.loss(step);
    if (run.reads_first) {
      MOAI_ASSIGN_OR_RETURN(losses.emplace_back(), loss.Item());
    }
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(training.optimizer->Step({.release_gradients = true}));
    if (run.reads_first) continue;
    MOAI_ASSIGN_OR_RETURN(losses.emplace_back(), loss.Item());
  }
  if (bytes_in_use != nullptr) {
    MOAI_RETURN_IF_ERROR(accelerator.Synchronize());
    *bytes_in_use = accelerator.stats().device_bytes_in_use;
  }
  return losses;
}

absl::Status Agree(const std::vector<StepResult>& got, const std::vector<StepResult>& want) {
  constexpr double kOfLoss = 1e-5;
  for (size_t step = 0; step < want.size(); ++step) {
    const StepResult& one = got[step];
    const StepResult& other = want[step];
    const auto at = [step](const absl::Status& status) {
      return absl::Status(status.code(), absl::StrCat("step ", step, ": ", status.message()));
    };
    if (!(std::abs(one.loss - other.loss) <= kOfLoss * std::abs(other.loss))) {
      return absl::InvalidArgumentError(
          absl::StrCat("step ", step, ": the loss is ", one.loss, ", not ", other.loss));
    }
    for (size_t i = 0; i < other.gradients.size(); ++i) {
      const NamedNumbers& gradient = other.gradients[i];
      const absl::Status status = Near(one.gradients[i], gradient, Norm(gradient.numbers));
      if (!status.ok()) return at(status);
    }
    for (size_t i = 0; i < other.state.size(); ++i) {
      const NamedNumbers& after = other.state[i];
      // What the first step started from is not known: there a whole parameter is the measure.
      const bool parameter = step > 0 && i < other.gradients.size();
      const double norm = parameter ? Norm(Minus(after.numbers, want[step - 1].state[i].numbers))
                                    : Norm(after.numbers);
      const absl::Status status = Near(one.state[i], after, norm);
      if (!status.ok()) return at(status);
    }
  }
  return absl::OkStatus();
}

}  // namespace moai
