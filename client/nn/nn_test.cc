// Layers on the reference interpreter, against plain arithmetic.
#include <cmath>
#include <memory>
#include <vector>

#include "client/autograd/grad_node.h"
#include "client/capture/recorder.h"
#include "client/nn/attention.h"
#include "client/nn/conv.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/loss.h"
#include "client/nn/norm.h"
#include "client/nn/sequential.h"
#include "client/tensor/ops.h"
#include "client/testing/reference_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NnTest : public ::testing::Test {
 protected:
  NnTest() { Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>())); }
  ~NnTest() override { Recorder::SetCurrent({}); }

  static std::vector<float> Values(const Tensor& tensor) {
    absl::StatusOr<std::vector<float>> values = tensor.ToVector<float>();
    EXPECT_TRUE(values.ok()) << values.status();
    return values.value_or(std::vector<float>{});
  }

  static void ExpectNear(const std::vector<float>& got, const std::vector<float>& want,
                         double tolerance = 1e-5) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << i;
  }
};

std::vector<std::string> Names(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : tensors) names.push_back(tensor.name);
  return names;
}

class TwoLayers : public Module {
 public:
  TwoLayers() : a(3, 4), b(4, 2, {.bias = false}) {
    RegisterModule("a", a);
    RegisterModule("b", b);
    RegisterShared("tied", a.weight());
  }
  Linear a;
  Linear b;
};

TEST_F(NnTest, NamesFollowTheTreeAndTiedTensorsAreListedOnce) {
  TwoLayers model;
  EXPECT_THAT(Names(model.NamedParameters()), ElementsAre("tied", "a.bias", "b.weight"));
  EXPECT_EQ(model.ParameterCount(), 3 * 4 + 4 + 4 * 2);
  model.Eval();
  EXPECT_FALSE(model.a.training());
}

TEST_F(NnTest, LinearMultipliesTheLastDimOfAnyShape) {
  Linear layer(3, 2);
  const Tensor x = Normal({2, 5, 3});
  const std::vector<float> y = Values(layer(x));
  const std::vector<float> input = Values(x);
  const std::vector<float> weight = Values(layer.weight());
  const std::vector<float> bias = Values(layer.bias());
  std::vector<float> want;
  for (int row = 0; row < 10; ++row) {
    for (int out = 0; out < 2; ++out) {
      double sum = bias[out];
      for (int in = 0; in < 3; ++in) sum += input[row * 3 + in] * weight[out * 3 + in];
      want.push_back(static_cast<float>(sum));
    }
  }
  ExpectNear(y, want);
  for (float value : weight) EXPECT_LE(std::abs(value), 1 / std::sqrt(3.0));
}

TEST_F(NnTest, ShapesThatDoNotFitPoisonTheResult) {
  Linear layer(3, 2);
  const Tensor y = layer(Zeros({4, 5}));
  EXPECT_FALSE(y.ok());
  EXPECT_THAT(std::string(y.status().message()), HasSubstr("matmul"));
}

TEST_F(NnTest, DropoutKeepsTheMeanWhileTrainingAndDoesNothingAfterwards) {
  Dropout dropout(0.25);
  const Tensor x = Ones({4000});
  const std::vector<float> first = Values(dropout(x));
  const std::vector<float> second = Values(dropout(x));
  EXPECT_NE(first, second);
  double sum = 0;
  for (float value : first) {
    EXPECT_TRUE(value == 0 || std::abs(value - 1 / 0.75) < 1e-6) << value;
    sum += value;
  }
  // Six standard deviations of the mean.
  EXPECT_NEAR(sum / 4000, 1, 6 * std::sqrt(0.25 / 0.75 / 4000));
  dropout.Eval();
  EXPECT_TRUE(dropout(x).Is(x));
}

TEST_F(NnTest, BatchNormTracksTheBatchesAndUsesThemInEval) {
  BatchNorm2d norm(2, {.momentum = 0.5});
  const Tensor x = Add(Mul(Normal({4, 2, 3, 3}), 2), 5);
  const std::vector<float> input = Values(x);
  const std::vector<float> y = Values(norm(x));
  double mean[2] = {}, square[2] = {};
  for (int i = 0; i < 72; ++i) {
    mean[i / 9 % 2] += input[i] / 36;
    square[i / 9 % 2] += input[i] * input[i] / 36;
  }
  double output_mean[2] = {};
  for (int i = 0; i < 72; ++i) output_mean[i / 9 % 2] += y[i] / 36;
  std::vector<float> want_eval(72);
  for (int c = 0; c < 2; ++c) {
    EXPECT_NEAR(output_mean[c], 0, 1e-4);
    const double variance = square[c] - mean[c] * mean[c];
    const double running_mean = 0.5 * mean[c];
    const double running_variance = 0.5 + 0.5 * variance * 36 / 35;
    for (int i = 0; i < 72; ++i) {
      if (i / 9 % 2 != c) continue;
      want_eval[i] =
          static_cast<float>((input[i] - running_mean) / std::sqrt(running_variance + 1e-5));
    }
  }
  norm.Eval();
  ExpectNear(Values(norm(x)), want_eval, 1e-4);
  EXPECT_THAT(Names(norm.StateDict()),
              ElementsAre("weight", "bias", "running_mean", "running_var"));
}

TEST_F(NnTest, GroupedCausalAttentionIsSoftmaxOverEarlierKeys) {
  constexpr int64_t kBatch = 2, kSequence = 5, kHeads = 4, kGroups = 2, kSize = 2;
  MultiHeadAttention attention(
      {.hidden = kHeads * kSize, .heads = kHeads, .kv_heads = kGroups, .causal = true});
  const Tensor x = Normal({kBatch, kSequence, kHeads * kSize});
  const auto tensors = attention.StateDict();
  ASSERT_THAT(Names(tensors), ElementsAre("q.weight", "q.bias", "k.weight", "k.bias", "v.weight",
                                          "v.bias", "o.weight", "o.bias"));
  const auto project = [&](int which, int64_t heads) {
    return Add(Matmul(x, tensors[2 * which].tensor, {.transpose_b = true}),
               tensors[2 * which + 1].tensor)
        .Reshape({kBatch, kSequence, heads, kSize});
  };
  const Tensor q = project(0, kHeads);
  const Tensor k = project(1, kGroups);
  const Tensor v = project(2, kGroups);
  std::vector<Tensor> heads;
  for (int64_t head = 0; head < kHeads; ++head) {
    const int64_t group = head / (kHeads / kGroups);
    Tensor scores = Matmul(q.Select(2, head), k.Select(2, group), {.transpose_b = true});
    scores = Mul(scores, 1 / std::sqrt(static_cast<double>(kSize)));
    const Tensor visible = Ge(Iota({kSequence, kSequence}, 0), Iota({kSequence, kSequence}, 1));
    scores = Where(visible, scores, Full({kSequence, kSequence}, -1e30));
    heads.push_back(Matmul(Softmax(scores), v.Select(2, group)));
  }
  const Tensor joined = Stack(heads, 2).Reshape({kBatch, kSequence, kHeads * kSize});
  const Tensor want =
      Add(Matmul(joined, tensors[6].tensor, {.transpose_b = true}), tensors[7].tensor);
  ExpectNear(Values(attention(x)), Values(want));
}

// Products and a softmax come to the same as the fused kernel, and so do their gradients.
TEST_F(NnTest, AttentionByProductsIsAttention) {
  for (const bool causal : {false, true}) {
    AttentionConfig config = {.hidden = 24, .heads = 6, .kv_heads = 2, .causal = causal};
    MultiHeadAttention fused(config);
    config.fused = false;
    MultiHeadAttention products(config);
    const auto from = fused.NamedParameters(), to = products.NamedParameters();
    ASSERT_EQ(from.size(), to.size());
    {
      const NoGradGuard no_grad;
      for (size_t i = 0; i < from.size(); ++i) Tensor(to[i].tensor).Copy_(from[i].tensor);
    }
    const Tensor x = Normal({2, 5, 24}), direction = Normal({2, 5, 24});
    ASSERT_TRUE(Sum(Mul(fused(x), direction)).Backward().ok());
    ASSERT_TRUE(Sum(Mul(products(x), direction)).Backward().ok());
    ExpectNear(Values(products(x)), Values(fused(x)), 1e-4);
    for (size_t i = 0; i < from.size(); ++i) {
      ExpectNear(Values(to[i].tensor.Grad()), Values(from[i].tensor.Grad()), 1e-4);
    }
  }
}

TEST_F(NnTest, RotaryTablesTurnPairsByTheirPosition) {
  const RotaryTables tables = MakeRotaryTables(3, 4, 100);
  const std::vector<float> cosine = Values(tables.cosine);
  const std::vector<float> sine = Values(tables.sine);
  for (int s = 0; s < 3; ++s) {
    for (int e = 0; e < 2; ++e) {
      const double angle = s * std::pow(100.0, -2.0 * e / 4);
      EXPECT_NEAR(cosine[s * 2 + e], std::cos(angle), 1e-6);
      EXPECT_NEAR(sine[s * 2 + e], std::sin(angle), 1e-6);
    }
  }
}

TEST_F(NnTest, ConvolutionAddsItsBiasAndSequentialRunsInOrder) {
  auto conv = std::make_unique<Conv2d>(2, 3, 3, Conv2dOptions{.window = Window::Padded(1)});
  Conv2d& first = *conv;
  Sequential model(std::move(conv), std::make_unique<Activation>(Relu),
                   std::make_unique<AvgPool2d>(2));
  const Tensor x = Normal({2, 2, 4, 4});
  const std::vector<NamedTensor> tensors = first.StateDict();
  const Tensor plain = moai::Conv2d(x, tensors[0].tensor, Window::Padded(1));
  const Tensor biased = Add(plain, tensors[1].tensor.Reshape({1, 3, 1, 1}));
  const Tensor want = moai::AvgPool2d(Relu(biased), {2, 2}, Window::Padded(0, 2));
  ExpectNear(Values(model(x)), Values(want));
  EXPECT_THAT(Names(model.StateDict()), ElementsAre("0.weight", "0.bias"));
  EXPECT_EQ(model(x).shape(), Shape({2, 3, 2, 2}));
}

TEST_F(NnTest, CrossEntropyIsTheMeanOverLabelsThatCount) {
  const Tensor logits = Normal({2, 3, 5});
  const std::vector<int32_t> labels = {1, -100, 4, 0, -100, 2};
  const Tensor loss = CrossEntropyLoss(logits, Tensor::FromData(labels, {2, 3}));
  const std::vector<float> scores = Values(logits);
  double total = 0;
  for (int row = 0; row < 6; ++row) {
    if (labels[row] < 0) continue;
    double sum = 0;
    for (int c = 0; c < 5; ++c) sum += std::exp(scores[row * 5 + c]);
    total += std::log(sum) - scores[row * 5 + labels[row]];
  }
  ExpectNear(Values(loss), {static_cast<float>(total / 4)});
  const Tensor bad = CrossEntropyLoss(logits, Full({2, 3}, 5, Dtype::kI32));
  EXPECT_FALSE(bad.Item().ok());
}

TEST_F(NnTest, ToConvertsParametersAndKeepsThemTrainable) {
  Linear layer(3, 2);
  layer.To(Dtype::kF64);
  EXPECT_EQ(layer.weight().dtype(), Dtype::kF64);
  EXPECT_TRUE(layer.weight().requires_grad());
  const Tensor y = layer(Ones({1, 3}, Dtype::kF64));
  ASSERT_TRUE(Sum(y).Backward().ok());
  EXPECT_THAT(*layer.weight().Grad().ToVector<double>(), ElementsAre(1, 1, 1, 1, 1, 1));
}

}  // namespace
}  // namespace moai::nn
