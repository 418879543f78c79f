// Single training steps of every built-in model, from equal state: what the executor computes
// beside the reference interpreter. Loss, gradients and updates.
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/capture/recorder.h"
#include "client/moai.h"
#include "client/models/gpt.h"
#include "client/models/mixtral.h"
#include "client/models/resnet.h"
#include "client/models/t5.h"
#include "client/models/vit.h"
#include "client/session/grpc_session.h"
#include "graph/testing/random_bindings.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/parity/tee_session.h"

namespace moai {
namespace {

constexpr int64_t kBatch = 4, kClasses = 16, kSequence = 12;
constexpr int kSteps = 3;

struct Program {
  std::unique_ptr<nn::Module> module;
  std::function<Tensor(int step)> loss;  // of another batch in each step
};

Tensor Ids(int64_t length, int64_t shift) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < kBatch; ++row) {
    for (int64_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<int32_t>((5 * (i + shift) + 3 * row * row) % kClasses));
    }
  }
  return Tensor::FromData(ids, {kBatch, length});
}

template <typename Model, typename Config>
Program Language(const Config& config) {
  auto model = std::make_unique<Model>(config);
  Model* pointer = model.get();
  return {std::move(model), [pointer](int step) {
            return pointer->Loss(Ids(kSequence, step), Ids(kSequence, step + 1));
          }};
}

template <typename Model, typename Config>
Program Images(const Config& config) {
  auto model = std::make_unique<Model>(config);
  Model* pointer = model.get();
  return {std::move(model), [pointer, config](int step) {
            const Tensor images = Normal({kBatch, config.channels, config.image, config.image});
            return pointer->Loss(images, Ids(1, step).Reshape({kBatch}));
          }};
}

Program MakeT5() {
  auto model = std::make_unique<models::T5>(models::T5Config{.vocabulary = kClasses,
                                                             .hidden = 24,
                                                             .ffn = 40,
                                                             .layers = 2,
                                                             .heads = 3,
                                                             .head_size = 8,
                                                             .source_sequence = kSequence,
                                                             .target_sequence = kSequence,
                                                             .gated = true});
  models::T5* pointer = model.get();
  return {std::move(model), [pointer](int step) {
            return pointer->Loss(Ids(kSequence, step), Ids(7, step), Ids(7, step + 1));
          }};
}

struct Case {
  std::string name;
  Program (*make)();
};

class ModelsParityTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    auto real = GrpcSession::Connect({.address = cluster_->address()});
    ASSERT_TRUE(real.ok()) << real.status();
    tee_ = std::make_shared<TeeSession>(
        *real, [this](const Comparison& comparison) { return Difference(comparison); });
    accelerator_.emplace(Accelerator::Attach(tee_));
    ManualSeed(11);
  }
  void TearDown() override { accelerator_.reset(); }

  // Within limit_ of the tensor's norm. What is 0 but for rounding (the gradient of a bias of keys)
  // has no norm to speak of: 1e-7 an element are forgiven.
  std::string Difference(const Comparison& comparison) {
    if (!IsFloat(comparison.type.dtype)) return RoundingDifference(comparison);
    const int64_t size = ByteSize(comparison.type.dtype);
    const int64_t elements = comparison.type.shape.elements();
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < elements; ++i) {
      const double want = comparison.reference.floats[i];
      const double got = LoadElement(comparison.type.dtype, comparison.real.data() + i * size);
      difference += (got - want) * (got - want);
      norm += want * want;
    }
    const double allowed =
        limit_ * std::sqrt(norm) + 1e-7 * std::sqrt(static_cast<double>(elements));
    if (std::sqrt(difference) <= allowed) return "";
    return absl::StrCat(ToString(comparison.type), " is off by ", std::sqrt(difference),
                        ", its norm is ", std::sqrt(norm));
  }

  // Submits what is recorded and compares every object that it wrote.
  absl::Status CompareAll(double limit) {
    limit_ = limit;
    absl::Status status = Recorder::Current()->Flush();
    return status.ok() ? tee_->CompareAll() : status;
  }

  std::unique_ptr<Cluster> cluster_;
  std::shared_ptr<TeeSession> tee_;
  std::optional<Accelerator> accelerator_;
  double limit_ = 0;
};

TEST_P(ModelsParityTest, EverySingleStepAgrees) {
  const Program program = GetParam().make();
  optim::AdamW optimizer(program.module->NamedParameters(), {.learning_rate = 3e-3});
  optimizer.StateDict();  // makes it
  absl::Status status = CompareAll(1e-5);
  ASSERT_TRUE(status.ok()) << "initial state: " << status;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    const Tensor loss = program.loss(step);
    status = CompareAll(1e-5);
    ASSERT_TRUE(status.ok()) << "loss: " << status;
    status = loss.Backward();
    if (status.ok()) status = CompareAll(1e-4);
    ASSERT_TRUE(status.ok()) << "gradients: " << status;
    status = optimizer.Step();
    if (status.ok()) status = CompareAll(1e-6);
    ASSERT_TRUE(status.ok()) << "update: " << status;
    optimizer.ZeroGrad();
  }
  EXPECT_GT(tee_->compared(),
            kSteps * 3 * static_cast<int64_t>(program.module->Parameters().size()));
}

INSTANTIATE_TEST_SUITE_P(
    Models, ModelsParityTest,
    ::testing::Values(Case{"Gpt",
                           [] {
                             return Language<models::Gpt>(models::GptConfig{.vocabulary = kClasses,
                                                                            .hidden = 24,
                                                                            .layers = 2,
                                                                            .heads = 3,
                                                                            .sequence = kSequence,
                                                                            .dropout = 0.1});
                           }},
                      Case{"Mixtral",
                           [] {
                             return Language<models::Mixtral>(
                                 models::MixtralConfig{.vocabulary = kClasses,
                                                       .hidden = 24,
                                                       .ffn = 40,
                                                       .layers = 2,
                                                       .heads = 2,
                                                       .kv_heads = 1,
                                                       .experts = 3,
                                                       .sequence = kSequence,
                                                       .capacity_factor = 0.9});
                           }},
                      Case{"Vit",
                           [] {
                             return Images<models::Vit>(models::VitConfig{.image = 12,
                                                                          .patch = 4,
                                                                          .classes = kClasses,
                                                                          .hidden = 24,
                                                                          .layers = 2,
                                                                          .heads = 3});
                           }},
                      Case{"Resnet",
                           [] {
                             return Images<models::Resnet>(
                                 models::ResnetConfig{.blocks = {2, 1, 1, 1},
                                                      .bottleneck = true,
                                                      .width = 4,
                                                      .classes = kClasses,
                                                      .image = 32});
                           }},
                      Case{"T5", MakeT5}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace moai
