// The model trains, through the reference interpreter.
#include "client/models/llama.h"

#include <optional>
#include <random>
#include <string>

#include "client/capture/recorder.h"
#include "client/optim/adam.h"
#include "client/optim/clip.h"
#include "client/tensor/autocast.h"
#include "client/tensor/random.h"
#include "client/testing/reference_session.h"
#include "gtest/gtest.h"

namespace moai::models {
namespace {

constexpr LlamaConfig kTiny = {.vocabulary = 16,
                               .hidden = 16,
                               .ffn = 24,
                               .layers = 2,
                               .heads = 4,
                               .kv_heads = 2,
                               .sequence = 8};
constexpr int64_t kBatch = 4;

// The id after x is 3 x + 1.
std::vector<int32_t> Ids(std::mt19937_64& random, int64_t shift) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < kBatch; ++row) {
    int64_t id = static_cast<int64_t>(random() % 16);
    for (int64_t i = 0; i < shift; ++i) id = (3 * id + 1) % 16;
    for (int64_t i = 0; i < kTiny.sequence; ++i) {
      ids.push_back(static_cast<int32_t>(id));
      id = (3 * id + 1) % 16;
    }
  }
  return ids;
}

struct Case {
  std::string name;
  std::optional<Dtype> autocast;
  double dropout = 0;
};

class LlamaTest : public ::testing::TestWithParam<Case> {
 protected:
  LlamaTest()
      : session_(
            std::make_shared<ReferenceSession>(ReferenceSession::Options{.keep_graphs = true})) {
    Recorder::SetCurrent(Recorder::Create(session_));
    ManualSeed(1);
  }
  ~LlamaTest() override { Recorder::SetCurrent(nullptr); }

  std::shared_ptr<ReferenceSession> session_;
};

TEST_P(LlamaTest, LearnsWithOneGraphAStep) {
  LlamaConfig config = kTiny;
  config.dropout = GetParam().dropout;
  Llama model(config);
  ASSERT_TRUE(model.status().ok()) << model.status();
  const std::vector<nn::NamedTensor> parameters = model.NamedParameters();
  optim::AdamW optimizer(parameters, {.learning_rate = 1e-2});
  const Shape shape = {kBatch, kTiny.sequence};
  std::mt19937_64 random(1);
  constexpr int kSteps = 40;
  double first = 0;
  double last = 0;
  uint64_t graphs_after_two = 0;
  for (int step = 0; step < kSteps; ++step) {
    std::mt19937_64 same = random;
    Tensor loss;
    {
      std::optional<Autocast> autocast;
      if (GetParam().autocast.has_value()) autocast.emplace(*GetParam().autocast);
      loss = model.Loss(Tensor::FromData(Ids(random, 0), shape),
                        Tensor::FromData(Ids(same, 1), shape));
    }
    ASSERT_TRUE(loss.Backward().ok());
    ASSERT_TRUE(optimizer
                    .Step({.gradient_scale = optim::ClipGradientNorm(parameters, 1).scale,
                           .release_gradients = true})
                    .ok());
    const absl::StatusOr<double> value = loss.Item();
    ASSERT_TRUE(value.ok()) << value.status();
    if (step == 0) first = *value;
    if (step == 1) graphs_after_two = session_->stats().graphs_registered;
    last = *value;
  }
  EXPECT_NEAR(first, 2.77, 0.15);  // log 16
  EXPECT_LT(last, first - 1);
  const SessionStats stats = session_->stats();
  EXPECT_EQ(stats.steps, uint64_t{kSteps});
  EXPECT_EQ(stats.graphs_registered, graphs_after_two);
  EXPECT_EQ(stats.blocking_round_trips, uint64_t{kSteps});
  // Nothing leaves a step but single numbers (loss, norm, scale) and its state, which stays where
  // it is.
  const StepRequest& before = session_->steps()[kSteps - 2];
  const StepRequest& after = session_->steps()[kSteps - 1];
  EXPECT_EQ(before.slots, after.slots);
  EXPECT_EQ(after.graph->value_count, 0u);
  for (const Output& output : after.graph->outputs) {
    if (output.kind == OutputKind::kValue) {
      EXPECT_EQ(after.graph->values[output.value].rank, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LlamaTest,
                         ::testing::Values(Case{.name = "F32"},
                                           Case{.name = "BF16", .autocast = Dtype::kBF16},
                                           Case{.name = "Dropout", .dropout = 0.1}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace moai::models
