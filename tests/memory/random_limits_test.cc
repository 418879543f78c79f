// Random models, batches, memory limits and numbers of devices: what does not fit is refused before
// it runs, and what runs stays within its limit and takes what was planned, step by step, on every
// device. Nothing runs out of memory in the middle of a step.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "client/moai.h"
#include "client/models/gpt.h"
#include "client/models/llama.h"
#include "client/models/mixtral.h"
#include "client/models/resnet.h"
#include "client/models/vit.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/end_to_end/step_accounts.h"

namespace moai {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr int64_t kClasses = 32;

struct Training {
  std::shared_ptr<nn::Module> module;
  std::function<Tensor(int step)> loss;
};

Tensor Ids(const Shape& shape, int seed) {
  std::mt19937 random{uint32_t(seed)};
  std::vector<int32_t> ids(size_t(shape.elements()));
  for (int32_t& id : ids) id = int32_t(random() % kClasses);
  return Tensor::FromData(ids, shape);
}

struct RandomCase {
  explicit RandomCase(int seed) : random_(uint64_t(seed)) {
    kind = kinds[Draw(0, std::ssize(kinds) - 1)];
    width = 16 * Draw(1, 4);
    layers = Draw(1, 3);
    sequence = 8 * Draw(1, 3);
    batch = Draw(1, 4) == 1 ? Draw(1, 5) : 8 * Draw(1, 5);
    workers = int(Draw(1, 2));
    devices = int(Draw(1, 2));
    steps = int(Draw(2, 3));
    // From what next to nothing fits in to what nearly everything does.
    const double exponent = std::uniform_real_distribution<double>(17.5, 24.5)(random_);
    limit = int64_t(std::exp2(exponent));
  }

  std::string Describe() const {
    return absl::StrFormat(
        "%s of width %d and %d layers, sequence %d, batch %d, on %d x %d devices of %d bytes", kind,
        width, layers, sequence, batch, workers, devices, limit);
  }

  Training Make() const {
    if (kind == "resnet") {
      auto model = std::make_shared<models::Resnet>(models::ResnetConfig{
          .blocks = {1, 1, 1, 1}, .width = width / 8, .classes = kClasses, .image = 16});
      return {model, [model, this](int step) {
                return model->Loss(Normal({batch, 3, 16, 16}), Ids({batch}, step));
              }};
    }
    if (kind == "vit") {
      auto model = std::make_shared<models::Vit>(models::VitConfig{.image = 16,
                                                                   .patch = 4,
                                                                   .classes = kClasses,
                                                                   .hidden = width,
                                                                   .layers = layers,
                                                                   .heads = 4});
      return {model, [model, this](int step) {
                return model->Loss(Normal({batch, 3, 16, 16}), Ids({batch}, step));
              }};
    }
    if (kind == "gpt") {
      return Language<models::Gpt>(models::GptConfig{.vocabulary = kClasses,
                                                     .hidden = width,
                                                     .layers = layers,
                                                     .heads = 4,
                                                     .sequence = sequence});
    }
    if (kind == "mixtral") {
      return Language<models::Mixtral>(models::MixtralConfig{.vocabulary = kClasses,
                                                             .hidden = width,
                                                             .ffn = 2 * width,
                                                             .layers = layers,
                                                             .heads = 4,
                                                             .experts = 4,
                                                             .sequence = sequence});
    }
    return Language<models::Llama>(models::LlamaConfig{.vocabulary = kClasses,
                                                       .hidden = width,
                                                       .ffn = 3 * width,
                                                       .layers = layers,
                                                       .heads = 4,
                                                       .kv_heads = 2,
                                                       .sequence = sequence,
                                                       .dropout = 0.1});
  }

  template <typename Model, typename Config>
  Training Language(const Config& config) const {
    auto model = std::make_shared<Model>(config);
    return {model, [model, this](int step) {
              const Shape shape = {batch, sequence};
              return model->Loss(Ids(shape, 2 * step), Ids(shape, 2 * step + 1));
            }};
  }

  static constexpr const char* kinds[] = {"llama", "gpt", "mixtral", "vit", "resnet"};
  std::string kind;
  int64_t width, layers, sequence, batch, limit;
  int workers, devices, steps;

 private:
  int64_t Draw(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  std::mt19937_64 random_;
};

// Trains on a session of its own. `peak`: the most that a device has had in use.
absl::Status Train(const Cluster& cluster, const RandomCase& one, int64_t* peak) {
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = cluster.address(), .log = false}));
  const auto train = [&]() -> absl::Status {
    ManualSeed(3);
    const Training training = one.Make();
    optim::AdamW optimizer(training.module->NamedParameters(), {.learning_rate = 1e-3});
    for (int step = 0; step < one.steps; ++step) {
      const Tensor loss = training.loss(step);
      MOAI_RETURN_IF_ERROR(loss.Backward());
      MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
      MOAI_RETURN_IF_ERROR(loss.Item().status());
    }
    return absl::OkStatus();
  };
  const absl::Status status = train();
  accelerator.Synchronize().IgnoreError();  // tells what `status` does, and the peak
  *peak = int64_t(accelerator.stats().device_bytes_peak);
  return status;
}

struct Outcome {
  bool refused = false;
  double of_limit = 0;  // the peak, as a share
  double of_plan = 0;   // likewise, of the step that was planned to need most
};

void Check(const RandomCase& one, Outcome& outcome) {
  auto cluster = Cluster::Start({.workers = one.workers,
                                 .devices = one.devices,
                                 .devices_per_session = one.workers * one.devices,
                                 .device_memory = absl::StrCat(one.limit),
                                 .server_flags = {"--log_level=debug"},
                                 .worker_flags = {"--log_level=debug"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  int64_t peak = 0;
  const absl::Status status = Train(**cluster, one, &peak);
  const std::string log = (*cluster)->Log();
  EXPECT_LE(peak, one.limit);
  outcome.refused = !status.ok();
  if (!status.ok()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status << "\n" << log;
    // So many bytes are needed, so many are available.
    EXPECT_THAT(std::string(status.message()), ContainsRegex("needs .*\\([0-9]+ bytes"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("available"));
  }
  // Whatever was sent to the devices ran, and took what was planned.
  const absl::StatusOr<CountedSteps> counted = CompareWithPlan(log);
  if (absl::IsFailedPrecondition(counted.status()) && outcome.refused) return;  // nothing ran
  ASSERT_TRUE(counted.ok()) << counted.status() << "\n" << log;
  int64_t planned = 0;
  for (const auto& [rank, bytes] : counted->peak) planned = std::max(planned, bytes);
  // Between steps a device has no more than in the largest of them; temporaries of an earlier one
  // may still be reserved where a later one needs less.
  EXPECT_GE(peak, planned);
  outcome.of_limit = double(peak) / double(one.limit);
  outcome.of_plan = double(peak) / double(planned);
}

TEST(RandomLimitsTest, EitherRefusedOrWithinTheLimit) {
  int cases = 16;
  if (const char* wanted = std::getenv("MOAI_MEMORY_CASES")) {
    ASSERT_TRUE(absl::SimpleAtoi(wanted, &cases));
  }
  int refused = 0;
  double of_limit = 0, of_plan = 1;
  for (int seed = 0; seed < cases; ++seed) {
    const RandomCase one(seed);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", one.Describe()));
    Outcome outcome;
    Check(one, outcome);
    if (HasFailure()) return;
    refused += outcome.refused ? 1 : 0;
    of_limit = std::max(of_limit, outcome.of_limit);
    of_plan = std::max(of_plan, outcome.of_plan);
  }
  absl::PrintF(
      "%d cases, %d refused; of those that ran, the largest peak was %.3f of its limit, and at "
      "most "
      "%.4f of the largest planned step\n",
      cases, refused, of_limit, of_plan);
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, cases);
}

}  // namespace
}  // namespace moai
