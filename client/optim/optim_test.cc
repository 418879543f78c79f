// Optimizers on the reference interpreter, against the formulas in plain arithmetic.
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "client/capture/recorder.h"
#include "client/nn/linear.h"
#include "client/optim/adam.h"
#include "client/optim/clip.h"
#include "client/optim/schedule.h"
#include "client/optim/sgd.h"
#include "client/tensor/ops.h"
#include "client/testing/reference_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One parameter p of three elements, whose loss is sum(p^3 / 3): the gradient is p^2.
class OptimTest : public ::testing::Test {
 protected:
  OptimTest() {
    session_ = std::make_shared<ReferenceSession>();
    Recorder::SetCurrent(Recorder::Create(session_));
    parameter_ = Tensor::FromData(std::vector<float>{0.5f, -1.25f, 2.0f}, {3});
    parameter_.MakeState();
    parameter_.RequiresGrad();
  }
  ~OptimTest() override { Recorder::SetCurrent({}); }

  std::vector<nn::NamedTensor> Parameters() { return {{"p", parameter_}}; }

  // Takes steps with the optimizer, and with `update(element, gradient, step)` on plain numbers.
  void ExpectAgreement(Optimizer& optimizer,
                       const std::function<void(int, double&, double, int)>& update) {
    std::vector<double> want = {0.5, -1.25, 2.0};
    for (int step = 1; step <= 5; ++step) {
      optimizer.set_learning_rate(0.1 / step);
      const Tensor loss = Sum(Mul(Mul(parameter_, parameter_), Div(parameter_, 3)));
      ASSERT_TRUE(loss.Backward().ok());
      const absl::Status status = optimizer.Step();
      ASSERT_TRUE(status.ok()) << status;
      optimizer.ZeroGrad();
      EXPECT_FALSE(parameter_.Grad().defined());
      for (int i = 0; i < 3; ++i) update(i, want[i], want[i] * want[i], step);
      const std::vector<float> got = *parameter_.ToVector<float>();
      for (int i = 0; i < 3; ++i) {
        EXPECT_NEAR(got[i], want[i], 1e-6 * std::abs(want[i]) + 1e-7) << "step " << step;
      }
    }
  }

  std::shared_ptr<ReferenceSession> session_;
  Tensor parameter_;
};

TEST_F(OptimTest, SgdWithMomentumAndDecay) {
  Sgd sgd(Parameters(), {.momentum = 0.9, .weight_decay = 0.01});
  double buffer[3] = {};
  ExpectAgreement(sgd, [&](int i, double& p, double g, int step) {
    buffer[i] = 0.9 * buffer[i] + g + 0.01 * p;
    p -= 0.1 / step * buffer[i];
  });
  EXPECT_EQ(sgd.StateDict()[0].name, "momentum.p");
}

TEST_F(OptimTest, SgdWithNesterovMomentum) {
  Sgd sgd(Parameters(), {.momentum = 0.9, .nesterov = true});
  double buffer[3] = {};
  ExpectAgreement(sgd, [&](int i, double& p, double g, int step) {
    buffer[i] = 0.9 * buffer[i] + g;
    p -= 0.1 / step * (g + 0.9 * buffer[i]);
  });
}

TEST_F(OptimTest, AdamWDecouplesTheDecay) {
  AdamW adam(Parameters(), {.beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1});
  double m[3] = {}, v[3] = {};
  ExpectAgreement(adam, [&](int i, double& p, double g, int step) {
    m[i] = 0.8 * m[i] + 0.2 * g;
    v[i] = 0.95 * v[i] + 0.05 * g * g;
    const double m_hat = m[i] / (1 - std::pow(0.8, step));
    const double v_hat = v[i] / (1 - std::pow(0.95, step));
    p -= 0.1 / step * (0.1 * p + m_hat / (std::sqrt(v_hat) + 1e-8));
  });
}

TEST_F(OptimTest, AdamAddsTheDecayToTheGradient) {
  Adam adam(Parameters(), {.beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1});
  double m[3] = {}, v[3] = {};
  ExpectAgreement(adam, [&](int i, double& p, double g, int step) {
    g += 0.1 * p;
    m[i] = 0.8 * m[i] + 0.2 * g;
    v[i] = 0.95 * v[i] + 0.05 * g * g;
    const double m_hat = m[i] / (1 - std::pow(0.8, step));
    const double v_hat = v[i] / (1 - std::pow(0.95, step));
    p -= 0.1 / step * m_hat / (std::sqrt(v_hat) + 1e-8);
  });
}

TEST_F(OptimTest, ClippingScalesTheGradientToTheNorm) {
  Sgd sgd(Parameters(), {.learning_rate = 1});
  ASSERT_TRUE(Sum(Mul(parameter_, 3)).Backward().ok());
  const ClippedNorm clipped = ClipGradientNorm(Parameters(), 1.5);
  ASSERT_TRUE(sgd.Step({.gradient_scale = clipped.scale}).ok());
  const double norm = std::sqrt(27.0);
  EXPECT_NEAR(*clipped.norm.Item(), norm, 1e-5);
  const std::vector<float> got = *parameter_.ToVector<float>();
  EXPECT_NEAR(got[0], 0.5 - 3 * 1.5 / norm, 1e-5);
}

TEST_F(OptimTest, AChangedLearningRateIsNoNewGraph) {
  AdamW adam(Parameters(), {});
  for (int step = 0; step < 6; ++step) {
    adam.set_learning_rate(0.1 / (step + 1));
    ASSERT_TRUE(Sum(Mul(parameter_, parameter_)).Backward().ok());
    ASSERT_TRUE(adam.Step().ok());
    adam.ZeroGrad();
  }
  // The first step makes the state; all later ones are one graph.
  EXPECT_LE(session_->stats().graphs_registered, 3u);
  EXPECT_EQ(session_->stats().steps, 6u);
}

TEST_F(OptimTest, APoisonedGradientIsAnErrorThatNamesItsParameter) {
  Sgd sgd(Parameters(), {});
  parameter_.SetGrad(Tensor::Poisoned(absl::InvalidArgumentError("spoiled")));
  const absl::Status status = sgd.Step();
  EXPECT_THAT(std::string(status.message()), HasSubstr("spoiled"));
  EXPECT_THAT(*parameter_.ToVector<float>(), ElementsAre(0.5f, -1.25f, 2.0f));
}

TEST(Schedule, CosineRisesThenFallsToItsEnd) {
  const CosineSchedule schedule = {.warmup_steps = 4, .total_steps = 12, .final_factor = 0.1};
  EXPECT_DOUBLE_EQ(schedule.Factor(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.Factor(3), 1);
  EXPECT_DOUBLE_EQ(schedule.Factor(4), 1);
  EXPECT_NEAR(schedule.Factor(8), 0.55, 1e-12);
  EXPECT_NEAR(schedule.Factor(12), 0.1, 1e-12);
  EXPECT_NEAR(schedule.Factor(100), 0.1, 1e-12);
  for (int64_t step = 4; step < 12; ++step) {
    EXPECT_GT(schedule.Factor(step), schedule.Factor(step + 1));
  }
}

TEST(Schedule, StepsMultiply) {
  const StepSchedule schedule = {.period = 3, .gamma = 0.5};
  EXPECT_DOUBLE_EQ(schedule.Factor(2), 1);
  EXPECT_DOUBLE_EQ(schedule.Factor(3), 0.5);
  EXPECT_DOUBLE_EQ(schedule.Factor(8), 0.25);
}

}  // namespace
}  // namespace moai::optim
