// The mixture of experts against plain loops: values, dropping, gradients.
#include "client/nn/moe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "client/capture/recorder.h"
#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/random.h"
#include "client/testing/reference_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai::nn {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kBatch = 2, kSequence = 8, kHidden = 4, kFfn = 6;

using Numbers = std::vector<double>;
using Weights = std::map<std::string, Numbers>;

struct PlainResult {
  Numbers y;
  double balance_loss = 0;
  int dropped = 0;
};

double Silu(double x) { return x / (1 + std::exp(-x)); }

// What an expert makes of one token.
Numbers RunExpert(const Weights& weights, int64_t expert, const double* x) {
  const double* gate = weights.at("gate").data() + expert * kHidden * kFfn;
  const double* up = weights.at("up").data() + expert * kHidden * kFfn;
  const double* down = weights.at("down").data() + expert * kFfn * kHidden;
  Numbers y(kHidden);
  for (int64_t f = 0; f < kFfn; ++f) {
    double g = 0, u = 0;
    for (int64_t h = 0; h < kHidden; ++h) {
      g += x[h] * gate[h * kFfn + f];
      u += x[h] * up[h * kFfn + f];
    }
    for (int64_t h = 0; h < kHidden; ++h) y[h] += Silu(g) * u * down[f * kHidden + h];
  }
  return y;
}

Numbers RouterProbabilities(const Weights& weights, int64_t experts, const double* x) {
  Numbers p(experts);
  double sum = 0;
  for (int64_t e = 0; e < experts; ++e) {
    double score = 0;
    for (int64_t h = 0; h < kHidden; ++h) {
      score += x[h] * weights.at("router.weight")[e * kHidden + h];
    }
    sum += p[e] = std::exp(score);
  }
  for (double& value : p) value /= sum;
  return p;
}

// One group of tokens, token by token; adds to `result`.
void RunGroup(const MoeConfig& config, const Weights& weights, int64_t capacity, int64_t tokens,
              const double* x, double* y, PlainResult& result) {
  std::vector<Numbers> probabilities;
  std::vector<std::vector<int64_t>> choices;
  for (int64_t t = 0; t < tokens; ++t) {
    probabilities.push_back(RouterProbabilities(weights, config.experts, x + t * kHidden));
    std::vector<int64_t> order(config.experts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return probabilities[t][a] > probabilities[t][b];
    });
    order.resize(config.top_k);
    choices.push_back(order);
  }
  std::vector<int64_t> taken(config.experts);
  for (int64_t k = 0; k < config.top_k; ++k) {
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t expert = choices[t][k];
      if (taken[expert]++ >= capacity) {
        ++result.dropped;
        continue;
      }
      double total = 0;
      for (int64_t other : choices[t]) total += probabilities[t][other];
      const Numbers out = RunExpert(weights, expert, x + t * kHidden);
      for (int64_t h = 0; h < kHidden; ++h) {
        y[t * kHidden + h] += probabilities[t][expert] / total * out[h];
      }
    }
  }
  for (int64_t e = 0; e < config.experts; ++e) {
    double mean = 0;
    for (int64_t t = 0; t < tokens; ++t) mean += probabilities[t][e] / static_cast<double>(tokens);
    const double share = static_cast<double>(taken[e]) / static_cast<double>(tokens * config.top_k);
    result.balance_loss += static_cast<double>(config.experts) * share * mean;
  }
}

PlainResult Plain(const MoeConfig& config, const MixtureOfExperts& layer, const Weights& weights,
                  const Numbers& x) {
  const int64_t tokens = layer.GroupSize(kSequence);
  const int64_t groups = kBatch * kSequence / tokens;
  PlainResult result;
  result.y.resize(x.size());
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t at = g * tokens * kHidden;
    RunGroup(config, weights, layer.Capacity(tokens), tokens, x.data() + at, result.y.data() + at,
             result);
  }
  result.balance_loss /= static_cast<double>(groups);
  return result;
}

class MoeTest : public ::testing::Test {
 protected:
  MoeTest() {
    Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>()));
    ManualSeed(3);
  }
  ~MoeTest() override { Recorder::SetCurrent({}); }

  static Numbers Values(const Tensor& tensor) {
    const absl::StatusOr<std::vector<float>> values = tensor.ToVector<float>();
    EXPECT_TRUE(values.ok()) << values.status();
    return values.ok() ? Numbers(values->begin(), values->end()) : Numbers();
  }
  static Weights WeightsOf(const MixtureOfExperts& layer) {
    Weights weights;
    for (const NamedTensor& entry : layer.StateDict()) weights[entry.name] = Values(entry.tensor);
    return weights;
  }
  static void ExpectNear(const Numbers& got, const Numbers& want, double tolerance) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << i;
  }
};

MoeConfig Config(int64_t experts, int64_t top_k, double capacity_factor, int64_t group_size) {
  return {.hidden = kHidden,
          .ffn = kFfn,
          .experts = experts,
          .top_k = top_k,
          .capacity_factor = capacity_factor,
          .group_size = group_size,
          .init_stddev = 1};
}

TEST_F(MoeTest, EqualsPlainLoopsAndDropsWhatFindsNoPlace) {
  struct Case {
    MoeConfig config;
    bool drops;
  };
  const Case cases[] = {
      {Config(3, 2, 1.5, 4), false},  // room for all
      {Config(3, 2, 0.7, 4), true},  {Config(4, 1, 1, 8), true},
      {Config(4, 2, 1.25, 8), true}, {Config(4, 4, 1, 16), false},  // every token to every expert
      {Config(3, 2, 0.7, 3), true},  // groups of 2: 3 does not divide 8
  };
  for (const Case& test : cases) {
    MixtureOfExperts layer(test.config);
    const Tensor x = Normal({kBatch, kSequence, kHidden});
    const MoeResult got = layer.Forward(x);
    const PlainResult want = Plain(test.config, layer, WeightsOf(layer), Values(x));
    EXPECT_EQ(want.dropped > 0, test.drops) << "the case does not test what it says";
    ExpectNear(Values(got.y), want.y, 2e-4);
    ExpectNear(Values(got.balance_loss), {want.balance_loss}, 1e-5);
  }
}

TEST_F(MoeTest, GradientsAreThoseOfThePlainLoops) {
  const MoeConfig config = Config(3, 2, 0.7, 4);
  MixtureOfExperts layer(config);
  const Tensor x = Normal({kBatch, kSequence, kHidden});
  const Tensor factor = Normal({kBatch, kSequence, kHidden});
  const MoeResult result = layer.Forward(x);
  ASSERT_TRUE((Sum(result.y * factor) + 0.3 * result.balance_loss).Backward().ok());
  const Weights weights = WeightsOf(layer);
  const Numbers inputs = Values(x), factors = Values(factor);
  const auto loss = [&](const Weights& at) {
    const PlainResult plain = Plain(config, layer, at, inputs);
    double sum = 0.3 * plain.balance_loss;
    for (size_t i = 0; i < factors.size(); ++i) sum += plain.y[i] * factors[i];
    return sum;
  };
  for (const NamedTensor& entry : layer.NamedParameters()) {
    const Numbers gradient = Values(entry.tensor.Grad());
    for (size_t i = 0; i < gradient.size(); ++i) {
      constexpr double kStep = 1e-5;
      Weights moved = weights;
      moved[entry.name][i] += kStep;
      const double above = loss(moved);
      moved[entry.name][i] -= 2 * kStep;
      const double slope = (above - loss(moved)) / (2 * kStep);
      EXPECT_NEAR(gradient[i], slope, 2e-4 * std::max(1.0, std::abs(slope)))
          << entry.name << "[" << i << "]";
    }
  }
}

TEST_F(MoeTest, ComputesInTheDtypeOfAutocast) {
  const MoeConfig config = Config(3, 2, 1.5, 4);
  MixtureOfExperts layer(config);
  const Tensor x = Normal({kBatch, kSequence, kHidden}, Dtype::kBF16);
  const Autocast autocast(Dtype::kBF16);
  const MoeResult got = layer.Forward(x);
  ASSERT_TRUE(got.y.ok()) << got.y.status();
  EXPECT_EQ(got.y.dtype(), Dtype::kBF16);
  EXPECT_EQ(got.balance_loss.dtype(), Dtype::kF32);
}

TEST_F(MoeTest, GroupsDivideTheSequenceAndCapacityIsBounded) {
  MixtureOfExperts layer(Config(8, 2, 1.25, 1024));
  EXPECT_EQ(layer.GroupSize(4096), 1024);
  EXPECT_EQ(layer.GroupSize(1500), 750);
  EXPECT_EQ(layer.GroupSize(7), 7);
  EXPECT_EQ(layer.Capacity(1024), 320);
  EXPECT_EQ(layer.Capacity(1), 1);
  EXPECT_EQ(MixtureOfExperts(Config(2, 2, 4, 16)).Capacity(16), 16);
}

TEST_F(MoeTest, ShapesAndChoicesThatDoNotFitPoisonTheResult) {
  const MoeResult rank = MixtureOfExperts(Config(3, 2, 1, 4)).Forward(Ones({4, kHidden}));
  EXPECT_THAT(std::string(rank.y.status().message()), HasSubstr("3 dims"));
  const MoeResult many = MixtureOfExperts(Config(3, 4, 1, 4)).Forward(Ones({1, 4, kHidden}));
  EXPECT_THAT(std::string(many.balance_loss.status().message()), HasSubstr("1 to 3 experts"));
}

}  // namespace
}  // namespace moai::nn
