// Every model learns, through the reference interpreter.
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/capture/recorder.h"
#include "client/models/gpt.h"
#include "client/models/mixtral.h"
#include "client/models/resnet.h"
#include "client/models/t5.h"
#include "client/models/vit.h"
#include "client/optim/adam.h"
#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/random.h"
#include "client/testing/reference_session.h"
#include "gtest/gtest.h"

namespace moai::models {
namespace {

constexpr int64_t kBatch = 4, kClasses = 8, kSequence = 6;

// A model and the loss of one fixed batch, which it can learn by heart.
struct Program {
  std::unique_ptr<nn::Module> module;
  std::function<Tensor()> loss;
};

Tensor Ids(int64_t length, int64_t shift) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < kBatch; ++row) {
    for (int64_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<int32_t>((3 * (i + shift) + row * row + 1) % kClasses));
    }
  }
  return Tensor::FromData(ids, {kBatch, length});
}

template <typename Model, typename Config>
Program Language(const Config& config) {
  auto model = std::make_unique<Model>(config);
  Model* pointer = model.get();
  return {std::move(model),
          [pointer] { return pointer->Loss(Ids(kSequence, 0), Ids(kSequence, 1)); }};
}

template <typename Model, typename Config>
Program Images(const Config& config) {
  auto model = std::make_unique<Model>(config);
  const Tensor images = Normal({kBatch, config.channels, config.image, config.image});
  Model* pointer = model.get();
  return {std::move(model),
          [pointer, images] { return pointer->Loss(images, Ids(1, 0).Reshape({kBatch})); }};
}

Program MakeGpt() {
  return Language<Gpt>(GptConfig{
      .vocabulary = kClasses, .hidden = 16, .layers = 2, .heads = 2, .sequence = kSequence});
}

Program MakeNemotron() {
  return Language<Gpt>(GptConfig{.vocabulary = kClasses,
                                 .hidden = 16,
                                 .ffn = 24,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .sequence = 2 * kSequence,  // inputs are shorter
                                 .dropout = 0.05,
                                 .bias = false,
                                 .tied_head = false,
                                 .rotary = true,
                                 .activation = FeedForwardActivation::kSquaredRelu});
}

Program MakeMixtral() {
  return Language<Mixtral>(MixtralConfig{.vocabulary = kClasses,
                                         .hidden = 16,
                                         .ffn = 24,
                                         .layers = 2,
                                         .heads = 4,
                                         .kv_heads = 2,
                                         .experts = 3,
                                         .sequence = kSequence});
}

Program MakeVit() {
  return Images<Vit>(VitConfig{.image = 8,
                               .patch = 4,
                               .channels = 2,
                               .classes = kClasses,
                               .hidden = 16,
                               .layers = 2,
                               .heads = 2});
}

ResnetConfig SmallResnet(bool bottleneck) {
  return {.blocks = {1, 1, 1, 1},
          .bottleneck = bottleneck,
          .width = bottleneck ? 2 : 3,
          .channels = 2,
          .classes = kClasses,
          .image = 32};
}

Program MakeT5(bool first_version) {
  auto model = std::make_unique<T5>(T5Config{.vocabulary = kClasses,
                                             .hidden = 16,
                                             .ffn = 24,
                                             .layers = 2,
                                             .heads = 2,
                                             .head_size = 6,
                                             .buckets = 8,
                                             .max_distance = 16,
                                             .source_sequence = 2 * kSequence,
                                             .target_sequence = kSequence,
                                             .gated = !first_version,
                                             .tied_head = first_version});
  T5* pointer = model.get();
  return {std::move(model), [pointer] {
            return pointer->Loss(Ids(kSequence + 2, 0), Ids(kSequence, 1), Ids(kSequence, 2));
          }};
}

struct Case {
  std::string name;
  Program (*make)();
  std::optional<Dtype> autocast;
};

class ModelsTest : public ::testing::TestWithParam<Case> {
 protected:
  ModelsTest() {
    Recorder::SetCurrent(Recorder::Create(session_));
    ManualSeed(1);
  }
  ~ModelsTest() override { Recorder::SetCurrent(nullptr); }

  std::shared_ptr<ReferenceSession> session_ = std::make_shared<ReferenceSession>();
};

TEST_P(ModelsTest, LearnsABatchWithOneGraph) {
  const Program program = GetParam().make();
  ASSERT_TRUE(program.module->status().ok()) << program.module->status();
  optim::AdamW optimizer(program.module->NamedParameters(), {.learning_rate = 1e-2});
  constexpr int kSteps = 12;
  double first = 0, last = 0;
  uint64_t graphs_after_two = 0;
  for (int step = 0; step < kSteps; ++step) {
    Tensor loss;
    {
      std::optional<Autocast> autocast;
      if (GetParam().autocast.has_value()) autocast.emplace(*GetParam().autocast);
      loss = program.loss();
    }
    const absl::Status backward = loss.Backward();
    ASSERT_TRUE(backward.ok()) << backward;
    for (const nn::NamedTensor& parameter : program.module->NamedParameters()) {
      EXPECT_TRUE(parameter.tensor.Grad().defined()) << parameter.name << " is not trained";
    }
    ASSERT_TRUE(optimizer.Step({.release_gradients = true}).ok());
    const absl::StatusOr<double> value = loss.Item();
    ASSERT_TRUE(value.ok()) << value.status();
    if (step == 0) first = *value;
    if (step == 1) graphs_after_two = session_->stats().graphs_registered;
    last = *value;
  }
  EXPECT_LT(last, 0.75 * first);
  EXPECT_EQ(session_->stats().graphs_registered, graphs_after_two);
  EXPECT_EQ(session_->stats().steps, uint64_t{kSteps});
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ModelsTest,
    ::testing::Values(
        Case{.name = "Gpt", .make = MakeGpt}, Case{.name = "Nemotron", .make = MakeNemotron},
        Case{.name = "Mixtral", .make = MakeMixtral},
        Case{.name = "MixtralBF16", .make = MakeMixtral, .autocast = Dtype::kBF16},
        Case{.name = "Vit", .make = MakeVit},
        Case{.name = "VitBF16", .make = MakeVit, .autocast = Dtype::kBF16},
        Case{.name = "Resnet", .make = [] { return Images<Resnet>(SmallResnet(false)); }},
        Case{.name = "ResnetBottleneck", .make = [] { return Images<Resnet>(SmallResnet(true)); }},
        Case{.name = "ResnetBF16",
             .make = [] { return Images<Resnet>(SmallResnet(true)); },
             .autocast = Dtype::kBF16},
        Case{.name = "T5", .make = [] { return MakeT5(true); }},
        Case{.name = "T5Gated", .make = [] { return MakeT5(false); }},
        Case{.name = "T5BF16", .make = [] { return MakeT5(true); }, .autocast = Dtype::kBF16}),
    [](const auto& info) { return info.param.name; });

class T5Test : public ::testing::Test {
 protected:
  T5Test() { Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>())); }
  ~T5Test() override { Recorder::SetCurrent(nullptr); }
};

TEST_F(T5Test, BucketsAreExactNearbyAndLogarithmicFarAway) {
  constexpr int64_t kLength = 40, kBuckets = 16, kFar = 32;
  for (const T5Side side : {T5Side::kEncoder, T5Side::kDecoder}) {
    const absl::StatusOr<std::vector<int32_t>> got =
        RelativeBuckets(kLength, side, kBuckets, kFar).ToVector<int32_t>();
    ASSERT_TRUE(got.ok()) << got.status();
    const bool both = side == T5Side::kEncoder;
    const int per_way = both ? 8 : 16, exact = per_way / 2;
    for (int query = 0; query < kLength; ++query) {
      for (int key = 0; key < kLength; ++key) {
        const int distance = both ? std::abs(key - query) : std::max(0, query - key);
        int want = distance;
        if (distance >= exact) {
          // The first bucket whose end, exact * (far / exact)^(i / n), is beyond the distance.
          want = exact;
          while (want < per_way - 1 &&
                 distance >= exact * std::pow(double{kFar} / exact,
                                              (want + 1.0 - exact) / (per_way - exact)) -
                                 1e-6) {
            ++want;
          }
        }
        if (both && key > query) want += per_way;
        EXPECT_EQ((*got)[query * kLength + key], want) << query << " " << key;
      }
    }
  }
}

TEST_F(T5Test, TheDecoderDoesNotSeeLaterTokens) {
  T5 model({.vocabulary = kClasses,
            .hidden = 8,
            .ffn = 8,
            .layers = 1,
            .heads = 2,
            .head_size = 4,
            .source_sequence = kSequence,
            .target_sequence = kSequence});
  const Tensor source = Ids(kSequence, 0);
  const auto logits = [&](int32_t last) {
    std::vector<int32_t> ids(kSequence, 1);
    ids.back() = last;
    return *model.Forward(source.Narrow(0, 0, 1), Tensor::FromData(ids, {1, kSequence}))
                .ToVector<float>();
  };
  const std::vector<float> a = logits(2), b = logits(5);
  const size_t last_row = a.size() - kClasses;
  for (size_t i = 0; i < last_row; ++i) EXPECT_EQ(a[i], b[i]) << i;
  EXPECT_NE(std::vector<float>(a.begin() + last_row, a.end()),
            std::vector<float>(b.begin() + last_row, b.end()));
}

}  // namespace
}  // namespace moai::models
