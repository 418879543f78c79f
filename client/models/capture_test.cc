// A captured step is what a live session is sent, and needs no memory.
#include "client/models/capture.h"

#include <sys/resource.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/capture/recorder.h"
#include "client/models/catalog.h"
#include "client/models/recording_session.h"
#include "client/nn/linear.h"
#include "client/nn/loss.h"
#include "client/optim/adam.h"
#include "client/optim/clip.h"
#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/random.h"
#include "client/testing/reference_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai::models {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kBatch = 2;
constexpr LlamaConfig kTiny = {.vocabulary = 16,
                               .hidden = 16,
                               .ffn = 24,
                               .layers = 2,
                               .heads = 4,
                               .kv_heads = 2,
                               .sequence = 8,
                               .dropout = 0.1};

// What a user's program submits for its steps.
std::vector<StepRequest> LiveSteps(std::optional<Dtype> dtype, double clip_norm, int steps) {
  const auto session =
      std::make_shared<ReferenceSession>(ReferenceSession::Options{.keep_graphs = true});
  Recorder::SetCurrent(Recorder::Create(session));
  ManualSeed(0);
  {
    Llama model(kTiny);
    const std::vector<nn::NamedTensor> parameters = model.NamedParameters();
    optim::AdamW optimizer(parameters, {.learning_rate = 1e-3});
    const std::vector<int32_t> ids(kBatch * kTiny.sequence, 3);
    const Shape shape = {kBatch, kTiny.sequence};
    for (int i = 0; i < steps; ++i) {
      Tensor loss;
      {
        std::optional<Autocast> autocast;
        if (dtype.has_value()) autocast.emplace(*dtype);
        loss = model.Loss(Tensor::FromData(ids, shape), Tensor::FromData(ids, shape));
      }
      EXPECT_TRUE(loss.Backward().ok());
      if (clip_norm > 0) {
        const Tensor scale = optim::ClipGradientNorm(parameters, clip_norm).scale;
        EXPECT_TRUE(optimizer.Step({.gradient_scale = scale, .release_gradients = true}).ok());
      } else {
        EXPECT_TRUE(optimizer.Step({.release_gradients = true}).ok());
      }
      EXPECT_TRUE(loss.Item().ok());
    }
  }
  Recorder::SetCurrent(nullptr);
  return session->steps();
}

TEST(CaptureTest, EqualsWhatALiveSessionIsSent) {
  for (const std::optional<Dtype> dtype : {std::optional<Dtype>(), std::optional(Dtype::kBF16)}) {
    for (const double clip_norm : {0.0, 1.0}) {
      const std::vector<StepRequest> live = LiveSteps(dtype, clip_norm, 3);
      ASSERT_EQ(live.size(), 3u);
      const absl::StatusOr<CapturedStep> captured =
          CaptureModel("tiny", kTiny, kBatch, {.autocast = dtype, .clip_norm = clip_norm});
      ASSERT_TRUE(captured.ok()) << captured.status();
      for (int i = 1; i < 3; ++i) {
        EXPECT_EQ(captured->fingerprint, live[i].fingerprint);
        EXPECT_EQ(captured->sizes, live[i].sizes);
        EXPECT_EQ(captured->scalars.size(), live[i].scalars.size());
      }
    }
  }
}

TEST(CaptureTest, NamesEverySlot) {
  const absl::StatusOr<CapturedStep> captured = CaptureModel("tiny", kTiny, kBatch);
  ASSERT_TRUE(captured.ok()) << captured.status();
  EXPECT_EQ(captured->name, "tiny");
  EXPECT_EQ(captured->samples, kBatch);
  EXPECT_EQ(captured->tokens, kBatch * kTiny.sequence);
  int64_t parameters = 0, moments = 0, others = 0;
  for (const CapturedSlot& slot : captured->slots) {
    const int64_t elements = slot.type.shape.elements();
    EXPECT_EQ(slot.type.dtype, Dtype::kF32) << slot.name;
    if (slot.role == SlotRole::kParameter) parameters += elements;
    if (slot.role == SlotRole::kOptimizer) moments += elements;
    others += slot.role == SlotRole::kOther;
    if (slot.name == "blocks.1.up.weight") {
      EXPECT_EQ(slot.type.shape, Shape({24, 16}));
    }
  }
  EXPECT_EQ(parameters, captured->parameters);
  EXPECT_EQ(moments, 2 * parameters);
  EXPECT_EQ(others, 2);  // cosines and sines
}

TEST(CaptureTest, RunningStatisticsAreBuffers) {
  const ResnetConfig config = {.blocks = {1, 1, 1, 1}, .width = 4, .classes = 4, .image = 32};
  const absl::StatusOr<CapturedStep> captured = CaptureModel("resnet", config, kBatch);
  ASSERT_TRUE(captured.ok()) << captured.status();
  int buffers = 0;
  for (const CapturedSlot& slot : captured->slots) buffers += slot.role == SlotRole::kBuffer;
  EXPECT_EQ(buffers, 2 * (1 + 4 * 2 + 3));  // stem, two a block, three shortcuts
}

TEST(CaptureTest, LeavesTheCallersThreadAlone) {
  const auto session = std::make_shared<ReferenceSession>();
  Recorder::SetCurrent(Recorder::Create(session));
  ManualSeed(5);
  const std::vector<float> before = *Uniform({4}).ToVector<float>();
  ManualSeed(5);
  const Autocast autocast(Dtype::kBF16);
  ASSERT_TRUE(CaptureModel("tiny", kTiny, kBatch, {.autocast = std::nullopt}).ok());
  EXPECT_EQ(*Uniform({4}).ToVector<float>(), before);
  EXPECT_EQ(&Recorder::Current()->session(), session.get());
  Recorder::SetCurrent(nullptr);
}

// A program of one layer; `loss` maps its output to the loss.
absl::StatusOr<CapturedStep> CaptureLinear(const std::function<Tensor(const Tensor&)>& loss) {
  return CaptureTrainingStep("linear", [&] {
    auto layer = std::make_unique<nn::Linear>(4, 2);
    nn::Linear* pointer = layer.get();
    return TrainingProgram{.module = std::move(layer), .loss = [pointer, loss] {
                             return loss((*pointer)(Placeholder({Dtype::kF32, {8, 4}})));
                           }};
  });
}

TEST(CaptureTest, RefusesWhatIsNoStep) {
  const absl::Status poisoned =
      CaptureLinear([](const Tensor& y) { return Sum(y + Zeros({3})); }).status();
  EXPECT_THAT(std::string(poisoned.message()), HasSubstr("add"));
  // A read in the middle is refused, and makes the step two.
  absl::Status read;
  const absl::Status two = CaptureLinear([&read](const Tensor& y) {
                             const Tensor sum = Sum(y);
                             read = sum.Item().status();
                             return sum;
                           }).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(read.message()), HasSubstr("no value can be read"));
  EXPECT_EQ(two.code(), absl::StatusCode::kUnimplemented);
  // Every step is longer than the last.
  int calls = 0;
  const absl::Status grows = CaptureLinear([&calls](const Tensor& y) {
                               Tensor sum = Sum(y);
                               for (int i = 0; i < calls; ++i) sum = sum * 2;
                               ++calls;
                               return sum;
                             }).status();
  EXPECT_EQ(grows.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(grows.message()), HasSubstr("not the same graph"));
}

int64_t PeakMegabytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// 1.6 TB of parameters and 6.5 TB of state.
TEST(CaptureTest, AModelTakesNoMemory) {
  const absl::StatusOr<ModelConfig> config = FindModel("llama3-405b");
  ASSERT_TRUE(config.ok());
  const int64_t before = PeakMegabytes();
  const absl::StatusOr<CapturedStep> captured = CaptureModel("llama3-405b", *config, 2048);
  ASSERT_TRUE(captured.ok()) << captured.status();
  EXPECT_EQ(captured->parameters, 405853388800);
  EXPECT_EQ(captured->tokens, 2048 * 8192);
  RecordProperty("nodes", static_cast<int>(captured->graph->nodes.size()));
  EXPECT_LT(PeakMegabytes() - before, 256);
}

}  // namespace
}  // namespace moai::models
