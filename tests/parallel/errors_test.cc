// What goes wrong while several devices train: it costs the step, or ends the session with words.
#include <signal.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/moai.h"
#include "client/models/llama.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"

namespace moai {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kBatch = 8, kSequence = 16, kVocabulary = 64;

class ErrorsTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start({.workers = 2,
                                   .devices = 2,
                                   .devices_per_session = 4,
                                   .server_flags = {"--force_plan=" + GetParam()}});
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    Connect();
  }
  void TearDown() override {
    if (HasFailure() && cluster_ != nullptr) fprintf(stderr, "%s", cluster_->Log().c_str());
    Disconnect();
  }

  // A session of its own, with a model and an optimizer.
  void Connect() {
    auto accelerator = Accelerator::Connect({.server = cluster_->address(), .log = false});
    ASSERT_TRUE(accelerator.ok()) << accelerator.status();
    accelerator_.emplace(*std::move(accelerator));
    ManualSeed(5);
    model_ = std::make_unique<models::Llama>(models::LlamaConfig{.vocabulary = kVocabulary,
                                                                 .hidden = 32,
                                                                 .ffn = 48,
                                                                 .layers = 2,
                                                                 .heads = 4,
                                                                 .kv_heads = 2,
                                                                 .sequence = kSequence,
                                                                 .dropout = 0.1});
    optimizer_ = std::make_unique<optim::AdamW>(model_->NamedParameters(),
                                                optim::AdamOptions{.learning_rate = 3e-3});
  }
  void Disconnect() {
    optimizer_.reset();
    model_.reset();
    accelerator_.reset();
  }

  // Sent, not waited for. `bad_row` has a label that is no id.
  absl::StatusOr<Tensor> Step(int step, std::optional<int64_t> bad_row = std::nullopt) {
    std::vector<int32_t> ids, labels;
    for (int64_t i = 0; i < kBatch * kSequence; ++i) {
      ids.push_back(int32_t((3 * i + step) % kVocabulary));
      labels.push_back(int32_t((3 * i + step + 3) % kVocabulary));
    }
    if (bad_row.has_value()) labels[size_t(*bad_row * kSequence + 5)] = kNoLabel;
    Tensor loss = model_->Loss(Tensor::FromData(ids, {kBatch, kSequence}),
                               Tensor::FromData(labels, {kBatch, kSequence}));
    if (absl::Status status = loss.Backward(); !status.ok()) return status;
    const absl::Status status = optimizer_->Step({.release_gradients = true});
    if (!status.ok()) return status;
    return loss;
  }

  absl::Status StepAndRead(int step) {
    const absl::StatusOr<Tensor> loss = Step(step);
    return loss.ok() ? loss->Item().status() : loss.status();
  }

  // Parameters and moments.
  std::vector<std::vector<std::byte>> State() {
    std::vector<nn::NamedTensor> tensors = model_->StateDict();
    for (nn::NamedTensor& moment : optimizer_->StateDict()) tensors.push_back(moment);
    std::vector<std::vector<std::byte>> state;
    for (const nn::NamedTensor& tensor : tensors) {
      std::vector<std::byte>& bytes = state.emplace_back(size_t(tensor.tensor.type().bytes()));
      const absl::Status status = tensor.tensor.ReadBytes(absl::MakeSpan(bytes));
      EXPECT_TRUE(status.ok()) << tensor.name << ": " << status;
    }
    return state;
  }

  static constexpr int32_t kNoLabel = 71;
  std::unique_ptr<Cluster> cluster_;
  std::optional<Accelerator> accelerator_;
  std::unique_ptr<models::Llama> model_;
  std::unique_ptr<optim::AdamW> optimizer_;
};

TEST_P(ErrorsTest, ABadLabelCostsItsStepOnEveryDevice) {
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(StepAndRead(step).ok());
  const std::vector<std::vector<std::byte>> before = State();
  // A row of the first device's, then one of the last's.
  for (const int64_t row : {int64_t{0}, kBatch - 1}) {
    const absl::StatusOr<Tensor> lost = Step(/*step=*/3, row);
    ASSERT_TRUE(lost.ok()) << "nothing is known before the read: " << lost.status();
    const absl::Status status = lost->Item().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("cross_entropy"), HasSubstr("71")));
    EXPECT_TRUE(State() == before) << "a step that failed changed parameters or moments";
  }
  for (int step = 4; step < 7; ++step) {
    const absl::Status status = StepAndRead(step);
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_FALSE(State() == before);
}

// Bazel's time limit is the deadline: what hangs fails.
TEST_P(ErrorsTest, AKilledExecutorEndsTrainingWithAnError) {
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(StepAndRead(step).ok());
  // Steps are on their way to the devices, or in their collectives.
  for (int step = 3; step < 8; ++step) ASSERT_TRUE(Step(step).ok());
  const std::vector<pid_t> executors = cluster_->executors();
  ASSERT_EQ(executors.size(), 2u);
  kill(executors.back(), SIGKILL);
  absl::Status status;
  // At most a few more succeed: those that had run before the server learnt of it.
  for (int step = 8; step < 100 && status.ok(); ++step) status = StepAndRead(step);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.message(), HasSubstr("executor"));
}

TEST_P(ErrorsTest, TheNextSessionTrains) {
  ASSERT_TRUE(StepAndRead(0).ok());
  kill(cluster_->executors().front(), SIGKILL);
  absl::Status status;
  for (int step = 1; step < 100 && status.ok(); ++step) status = StepAndRead(step);
  ASSERT_FALSE(status.ok());
  Disconnect();
  Connect();
  ASSERT_FALSE(HasFatalFailure());
  for (int step = 0; step < 3; ++step) {
    status = StepAndRead(step);
    EXPECT_TRUE(status.ok()) << status;
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, ErrorsTest,
                         ::testing::Values("data=4,state=1", "data=2,model=2,micro_batches=2"),
                         [](const auto& info) {
                           return info.index == 0 ? "ShardedState" : "MicroBatches";
                         });

}  // namespace
}  // namespace moai
