// The example's training through real processes, beside the reference interpreter in double
// precision.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/capture/recorder.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "client/session/grpc_session.h"
#include "gmock/gmock.h"
#include "graph/testing/random_bindings.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/parity/tee_session.h"

namespace moai {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kSteps = 200;
constexpr int64_t kBatch = 4;
constexpr models::LlamaConfig kConfig = {.vocabulary = 64,
                                         .hidden = 32,
                                         .ffn = 48,
                                         .layers = 2,
                                         .heads = 4,
                                         .kv_heads = 2,
                                         .sequence = 16,
                                         .dropout = 0.1};

struct Batch {
  std::vector<int32_t> ids, labels;
};

// A stream that can be learnt: mostly counting, by a stride of the row's own.
Batch DrawBatch(std::mt19937_64& random) {
  Batch batch;
  for (int64_t row = 0; row < kBatch; ++row) {
    const uint64_t stride = 1 + random() % 3;
    uint64_t id = random() % kConfig.vocabulary;
    for (int64_t i = 0; i < kConfig.sequence; ++i) {
      batch.ids.push_back(static_cast<int32_t>(id));
      id = (id + (random() % 8 == 0 ? random() : stride)) % kConfig.vocabulary;
      batch.labels.push_back(static_cast<int32_t>(id));
    }
  }
  return batch;
}

// |a - b| and |b|, Euclidean.
struct Distance {
  double difference = 0;
  double norm = 0;
  double relative() const { return norm > 0 ? difference / norm : difference; }
};

Distance DistanceOf(const Comparison& comparison) {
  Distance distance;
  const int64_t size = ByteSize(comparison.type.dtype);
  for (int64_t i = 0; i < comparison.type.shape.elements(); ++i) {
    const double want = comparison.reference.floats[i];
    const double got = LoadElement(comparison.type.dtype, comparison.real.data() + i * size);
    distance.difference += (got - want) * (got - want);
    distance.norm += want * want;
  }
  return {std::sqrt(distance.difference), std::sqrt(distance.norm)};
}

class TrainingParityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    auto real = GrpcSession::Connect({.address = cluster_->address()});
    ASSERT_TRUE(real.ok()) << real.status();
    tee_ = std::make_shared<TeeSession>(*real, [this](const Comparison& comparison) {
      if (!IsFloat(comparison.type.dtype)) return RoundingDifference(comparison);
      const double relative = DistanceOf(comparison).relative();
      largest_ = std::max(largest_, relative);
      if (relative <= limit_) return std::string();
      return absl::StrCat(ToString(comparison.type), " is off by ", relative,
                          " of its norm, allowed are ", limit_);
    });
    accelerator_.emplace(Accelerator::Attach(tee_));
    ManualSeed(11);
    model_ = std::make_unique<models::Llama>(kConfig);
    ASSERT_TRUE(model_->status().ok()) << model_->status();
    optimizer_ = std::make_unique<optim::AdamW>(
        model_->NamedParameters(),
        optim::AdamOptions{.learning_rate = 3e-3, .beta2 = 0.99, .weight_decay = 0.05});
    optimizer_->StateDict();  // makes it
    limit_ = 1e-5;
    const absl::Status status = CompareAll();
    ASSERT_TRUE(status.ok()) << "initial state: " << status;
  }

  void TearDown() override {
    optimizer_.reset();
    model_.reset();
    accelerator_.reset();
  }

  // Submits what is recorded and compares every object; the reference goes on from the real
  // content.
  absl::Status CompareAll() {
    absl::Status status = Recorder::Current()->Flush();
    if (status.ok()) status = tee_->CompareAll();
    return status;
  }

  Tensor Loss(const Batch& batch) {
    return model_->Loss(Tensor::FromData(batch.ids, {kBatch, kConfig.sequence}),
                        Tensor::FromData(batch.labels, {kBatch, kConfig.sequence}));
  }

  // A whole step as the example takes it; the loss is not read.
  absl::StatusOr<Tensor> Step(const Batch& batch) {
    Tensor loss = Loss(batch);
    if (absl::Status status = loss.Backward(); !status.ok()) return status;
    if (absl::Status status = optimizer_->Step({.release_gradients = true}); !status.ok()) {
      return status;
    }
    return loss;
  }

  // Reads the loss, and expects the reference's to be within 1 % of it.
  double ReadLoss(const Tensor& loss) {
    const auto value = loss.Item();
    EXPECT_TRUE(value.ok()) << value.status();
    if (!value.ok()) return 0;
    const absl::StatusOr<ReferenceTensor>& reference = tee_->reference_of_last_read();
    EXPECT_TRUE(reference.ok()) << reference.status();
    if (!reference.ok()) return 0;
    const double want = reference->floats[0];
    EXPECT_LE(std::abs(*value - want), 0.01 * want) << "the reference has " << want;
    worst_loss_ = std::max(worst_loss_, std::abs(*value - want) / want);
    return *value;
  }

  // Parameters and the optimizer's moments, as bytes.
  std::vector<std::vector<std::byte>> State() {
    std::vector<std::vector<std::byte>> state;
    std::vector<nn::NamedTensor> tensors = model_->StateDict();
    for (nn::NamedTensor& moment : optimizer_->StateDict()) tensors.push_back(moment);
    for (const nn::NamedTensor& tensor : tensors) {
      std::vector<std::byte>& bytes = state.emplace_back(tensor.tensor.type().bytes());
      const absl::Status status = tensor.tensor.ReadBytes(absl::MakeSpan(bytes));
      EXPECT_TRUE(status.ok()) << tensor.name << ": " << status;
    }
    return state;
  }

  std::unique_ptr<Cluster> cluster_;
  std::shared_ptr<TeeSession> tee_;
  std::optional<Accelerator> accelerator_;
  std::unique_ptr<models::Llama> model_;
  std::unique_ptr<optim::AdamW> optimizer_;
  std::mt19937_64 random_{7};
  // Of a float tensor, relative to its norm: what is allowed, and the largest that occurred.
  double limit_ = 0;
  double largest_ = 0;
  double worst_loss_ = 0;  // of ReadLoss, relative
};

TEST_F(TrainingParityTest, EverySingleStepAgrees) {
  double worst_loss = 0, worst_gradient = 0, worst_update = 0, first = 0, last = 0;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    // The loss alone.
    const Tensor loss = Loss(DrawBatch(random_));
    limit_ = 1e-5, largest_ = 0;
    const auto value = loss.Item();
    ASSERT_TRUE(value.ok()) << value.status();
    ASSERT_TRUE(tee_->difference().ok()) << "loss: " << tee_->difference();
    worst_loss = std::max(worst_loss, largest_);
    if (step == 0) first = *value;
    last = *value;
    // The gradients. Saved results of the forward pass are compared as well.
    limit_ = 1e-4, largest_ = 0;
    absl::Status status = loss.Backward();
    if (status.ok()) status = CompareAll();
    ASSERT_TRUE(status.ok()) << "gradients: " << status;
    worst_gradient = std::max(worst_gradient, largest_);
    // The update, from equal gradients and equal state.
    limit_ = 1e-6, largest_ = 0;
    status = optimizer_->Step();
    if (status.ok()) status = CompareAll();
    ASSERT_TRUE(status.ok()) << "update: " << status;
    worst_update = std::max(worst_update, largest_);
    optimizer_->ZeroGrad();
  }
  ASSERT_TRUE(tee_->difference().ok()) << tee_->difference();
  EXPECT_LT(last, 0.8 * first) << "it does not learn, which makes the test weak";
  std::printf(
      "steps=%d loss_first=%.5f loss_last=%.5f worst_loss=%.2e worst_gradient=%.2e "
      "worst_update=%.2e compared=%ld\n",
      kSteps, first, last, worst_loss, worst_gradient, worst_update, tee_->compared());
}

TEST_F(TrainingParityTest, FreeRunsStayTogetherAndStepsAreSmall) {
  constexpr int kWarmup = 5;
  tee_->set_comparing(false);
  double first = 0, last = 0;
  uint64_t most_bytes = 0, most_trips = 0;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    const SessionStats before = tee_->stats();
    const auto loss = Step(DrawBatch(random_));
    ASSERT_TRUE(loss.ok()) << loss.status();
    last = ReadLoss(*loss);
    ASSERT_FALSE(HasFailure());
    if (step == 0) first = last;
    const SessionStats after = tee_->stats();
    if (step < kWarmup) continue;
    EXPECT_EQ(after.steps - before.steps, 1);
    EXPECT_EQ(after.graphs_registered, before.graphs_registered) << "a step that was seen before";
    most_bytes = std::max(most_bytes, after.control_bytes_sent - before.control_bytes_sent);
    most_trips = std::max(most_trips, after.blocking_round_trips - before.blocking_round_trips);
  }
  EXPECT_LT(last, 0.8 * first) << "it does not learn, which makes the test weak";
  EXPECT_LT(most_bytes, 1024) << "control bytes of a step";
  EXPECT_LE(most_trips, 1) << "blocking round trips of a step";
  std::printf(
      "steps=%d loss_first=%.5f loss_last=%.5f worst_loss_difference=%.2e "
      "control_bytes_per_step=%lu blocking_round_trips_per_step=%lu\n",
      kSteps, first, last, worst_loss_, most_bytes, most_trips);
}

TEST_F(TrainingParityTest, StepsDoNotWaitWhereNothingIsRead) {
  // The bytes and trips of the real session alone.
  std::vector<Tensor> losses;
  uint64_t trips = 0;
  for (int step = 0; step < 8; ++step) {
    if (step == 3) trips = tee_->stats().blocking_round_trips;
    tee_->set_comparing(false);
    const auto loss = Step(DrawBatch(random_));
    ASSERT_TRUE(loss.ok()) << loss.status();
  }
  EXPECT_EQ(tee_->stats().blocking_round_trips, trips);
}

TEST_F(TrainingParityTest, ABadBatchCostsItsStepOnly) {
  tee_->set_comparing(false);
  for (int step = 0; step < 5; ++step) {
    const auto loss = Step(DrawBatch(random_));
    ASSERT_TRUE(loss.ok()) << loss.status();
    ReadLoss(*loss);
  }
  const std::vector<std::vector<std::byte>> before = State();

  Batch bad = DrawBatch(random_);
  constexpr int32_t kNoLabel = 64 + 7;
  bad.labels[bad.labels.size() / 2] = kNoLabel;
  const auto lost = Step(bad);
  ASSERT_TRUE(lost.ok()) << "nothing is known before the read: " << lost.status();
  const auto value = lost->Item();
  EXPECT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(value.status().message(),
              AllOf(HasSubstr("cross_entropy"), HasSubstr(absl::StrCat(kNoLabel))));
  EXPECT_EQ(tee_->reference_of_last_read().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(State() == before) << "a step that failed changed parameters or moments";

  // Training goes on, beside a reference that did not commit the bad step either.
  for (int step = 0; step < 10; ++step) {
    const auto loss = Step(DrawBatch(random_));
    ASSERT_TRUE(loss.ok()) << loss.status();
    ReadLoss(*loss);
  }
  EXPECT_FALSE(State() == before);
}

}  // namespace
}  // namespace moai
