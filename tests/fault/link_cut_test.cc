// A training run over a link that breaks again and again gives the same bits as one that nothing
// disturbs: messages are neither lost nor applied twice.
#include <bit>
#include <cstdint>
#include <deque>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/status.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/support/flaky_proxy.h"

namespace moai {
namespace {

using ::moai::testing::FlakyProxy;
using models::Llama;
using models::LlamaConfig;

constexpr LlamaConfig kModel = {.vocabulary = 64,
                                .hidden = 32,
                                .ffn = 64,
                                .layers = 2,
                                .heads = 4,
                                .kv_heads = 2,
                                .sequence = 32,
                                .dropout = 0.1};
constexpr int64_t kBatch = 4;
// Losses are read this many steps later, so that steps are on their way at any time.
constexpr size_t kReadBehind = 4;
constexpr int kMaxSteps = 2000;

struct Training {
  std::vector<uint32_t> losses;  // the bits of each step's
  SessionStats stats;
};

// Ids that the model can learn to predict: a walk with a little noise.
Tensor DrawIds(std::mt19937_64& random, Tensor& labels) {
  std::vector<int32_t> ids, next;
  for (int64_t row = 0; row < kBatch; ++row) {
    int32_t id = static_cast<int32_t>(random() % 64);
    for (int64_t i = 0; i < kModel.sequence; ++i) {
      ids.push_back(id);
      id = static_cast<int32_t>((5 * id + 3 + (random() % 8 == 0)) % 64);
      next.push_back(id);
    }
  }
  labels = Tensor::FromData(next, {kBatch, kModel.sequence});
  return Tensor::FromData(ids, {kBatch, kModel.sequence});
}

// Trains while `more` says so; it is asked before each step, with how many have been recorded.
absl::StatusOr<Training> Train(const std::string& address,
                               const std::function<bool(int step)>& more) {
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = address, .log = false}));
  ManualSeed(3);
  Llama model(kModel);
  const std::vector<nn::NamedTensor> parameters = model.NamedParameters();
  optim::AdamW optimizer(parameters, {.learning_rate = 3e-3, .weight_decay = 0.1});
  std::mt19937_64 random(5);
  std::deque<Tensor> unread;
  Training run;
  const auto read = [&]() -> absl::Status {
    MOAI_ASSIGN_OR_RETURN(const std::vector<float> loss, unread.front().ToVector<float>());
    unread.pop_front();
    run.losses.push_back(std::bit_cast<uint32_t>(loss.at(0)));
    return absl::OkStatus();
  };
  for (int step = 0; more(step); ++step) {
    Tensor labels;
    const Tensor ids = DrawIds(random, labels);
    const Tensor loss = model.Loss(ids, labels);
    MOAI_RETURN_IF_ERROR(loss.Backward());
    optim::StepOptions options = {.release_gradients = true};
    options.gradient_scale = optim::ClipGradientNorm(parameters, 1.0).scale;
    MOAI_RETURN_IF_ERROR(optimizer.Step(options));
    unread.push_back(loss);
    if (unread.size() > kReadBehind) MOAI_RETURN_IF_ERROR(read());
  }
  while (!unread.empty()) MOAI_RETURN_IF_ERROR(read());
  MOAI_RETURN_IF_ERROR(accelerator.Synchronize());
  run.stats = accelerator.stats();
  return run;
}

float LossAt(const Training& run, size_t step) { return std::bit_cast<float>(run.losses.at(step)); }

class LinkCutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start({.tcp = true});
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    auto proxy = FlakyProxy::Start(cluster_->address());
    ASSERT_TRUE(proxy.ok()) << proxy.status();
    proxy_ = *std::move(proxy);
  }

  void ExpectSameAsUndisturbed(const Training& disturbed) {
    const int steps = static_cast<int>(disturbed.losses.size());
    const auto undisturbed = Train(cluster_->address(), [steps](int step) { return step < steps; });
    ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
    EXPECT_EQ(undisturbed->stats.reconnects, 0u);
    EXPECT_EQ(disturbed.losses, undisturbed->losses);
    EXPECT_EQ(disturbed.stats.steps, undisturbed->stats.steps);
    EXPECT_EQ(disturbed.stats.graphs_registered, undisturbed->stats.graphs_registered);
    // Each message counts once, however often it was sent.
    EXPECT_EQ(disturbed.stats.control_bytes_sent, undisturbed->stats.control_bytes_sent);
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<FlakyProxy> proxy_;
};

TEST_F(LinkCutTest, AHundredCutsLeaveTheLossesAsTheyWere) {
  constexpr int kCuts = 100;
  constexpr int kFirstCut = 10;  // by now every graph is registered
  int cuts = 0;
  int steps_with_cuts = 0;
  const auto run = Train(proxy_->address(), [&](int step) {
    if (step == kFirstCut) {
      proxy_->CutRandomly(/*seed=*/7, kCuts, /*min_bytes=*/1000, /*max_bytes=*/8000);
    }
    steps_with_cuts += proxy_->cuts() > cuts;
    cuts = proxy_->cuts();
    return step < kMaxSteps && cuts < kCuts;
  });
  ASSERT_TRUE(run.ok()) << run.status() << "\n" << cluster_->Log();
  std::cout << "steps=" << run->losses.size() << " cuts=" << proxy_->cuts()
            << " steps with cuts=" << steps_with_cuts << " reconnects=" << run->stats.reconnects
            << " loss=" << LossAt(*run, 0) << ".." << LossAt(*run, run->losses.size() - 1)
            << std::endl;
  EXPECT_EQ(proxy_->cuts(), kCuts);
  // All over the run, not in one place.
  EXPECT_GE(steps_with_cuts, 20);
  // A connection may be cut before it has resumed the session; most are not.
  EXPECT_LE(run->stats.reconnects, static_cast<uint64_t>(kCuts));
  EXPECT_GE(run->stats.reconnects, static_cast<uint64_t>(kCuts / 2));
  ExpectSameAsUndisturbed(*run);
  EXPECT_LT(LossAt(*run, run->losses.size() - 1), LossAt(*run, 0));
}

TEST_F(LinkCutTest, CutsWhileGraphsAreRegisteredLoseNothing) {
  // In the middle of the handshake, of registrations, of whatever comes first.
  constexpr int kCuts = 12;
  proxy_->CutRandomly(/*seed=*/11, kCuts, /*min_bytes=*/1000, /*max_bytes=*/16000);
  const auto run = Train(proxy_->address(), [&](int step) {
    return step < 30 || (step < kMaxSteps && proxy_->cuts() < kCuts);
  });
  ASSERT_TRUE(run.ok()) << run.status() << "\n" << cluster_->Log();
  EXPECT_EQ(proxy_->cuts(), kCuts);
  EXPECT_GE(run->stats.reconnects, 1u);
  ExpectSameAsUndisturbed(*run);
}

// From the first byte to the last, no connection passes as much as the registration of the training
// step's graph.
TEST_F(LinkCutTest, ALinkThatPassesLessThanAGraphMakesProgress) {
  constexpr int kCuts = 1000;
  constexpr size_t kMaxBytes = 9000;
  constexpr int kSteps = 8;
  proxy_->CutRandomly(/*seed=*/13, kCuts, /*min_bytes=*/6000, kMaxBytes);
  const auto run = Train(proxy_->address(), [](int step) { return step < kSteps; });
  ASSERT_TRUE(run.ok()) << run.status() << "\n" << cluster_->Log();
  std::cout << "cuts=" << proxy_->cuts() << " control bytes=" << run->stats.control_bytes_sent
            << " graphs=" << run->stats.graphs_registered << std::endl;
  // Else the link became whole before the end.
  EXPECT_LT(proxy_->cuts(), kCuts);
  // Else no graph was too large.
  EXPECT_GT(run->stats.control_bytes_sent, run->stats.graphs_registered * kMaxBytes);
  ExpectSameAsUndisturbed(*run);
}

}  // namespace
}  // namespace moai
