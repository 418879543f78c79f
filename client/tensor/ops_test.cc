// What ops.h adds to the op table: broadcasting, promotion, negative dims, flattened batches; and
// gradients of compositions. What the ops themselves compute is the interpreter's business.
#include "client/tensor/ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "client/capture/recorder.h"
#include "client/testing/reference_session.h"

namespace moai {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;

class OpsTest : public ::testing::Test {
 protected:
  OpsTest() { Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>())); }
  ~OpsTest() override { Recorder::SetCurrent(nullptr); }

  Tensor Random(const Shape& shape) {
    std::vector<double> elements(shape.elements());
    for (double& x : elements) x = std::uniform_real_distribution<double>(-1, 1)(random_);
    return Tensor::FromData(elements, shape);
  }
  static std::vector<double> Read(const Tensor& tensor) {
    auto elements = tensor.To(Dtype::kF64).ToVector<double>();
    EXPECT_TRUE(elements.ok()) << elements.status();
    return elements.ok() ? *elements : std::vector<double>();
  }

  // The gradient of function(x) at x equals finite differences.
  void CheckGradient(const std::function<Tensor(const Tensor&)>& function, const Shape& shape) {
    Tensor x = Random(shape);
    std::vector<double> at = Read(x);
    x.RequiresGrad();
    const Tensor y = function(x);
    const absl::Status status = y.Backward();
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<double> gradient = Read(x.Grad());
    const NoGradGuard no_grad;
    for (size_t i = 0; i < at.size(); ++i) {
      const double before = at[i];
      constexpr double kStep = 1e-5;
      at[i] = before + kStep;
      const double above = *function(Tensor::FromData(at, shape)).Item();
      at[i] = before - kStep;
      const double below = *function(Tensor::FromData(at, shape)).Item();
      at[i] = before;
      const double expected = (above - below) / (2 * kStep);
      EXPECT_NEAR(gradient[i], expected, 1e-6 * (1 + std::abs(expected))) << "element " << i;
    }
  }

  std::mt19937_64 random_{3};
};

// sum over k of a[..., m, k] b[..., k, n], for every batch of `batch` elements.
std::vector<double> NaiveMatmul(const std::vector<double>& a, const std::vector<double>& b,
                                int64_t batch, int64_t m, int64_t k, int64_t n, bool b_repeats) {
  std::vector<double> c(batch * m * n);
  for (int64_t i = 0; i < batch; ++i) {
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t s = 0; s < n; ++s) {
        for (int64_t t = 0; t < k; ++t) {
          const int64_t of = b_repeats ? 0 : i * k * n;
          c[(i * m + r) * n + s] += a[(i * m + r) * k + t] * b[of + t * n + s];
        }
      }
    }
  }
  return c;
}

TEST_F(OpsTest, MatmulTakesAnyBatch) {
  const Tensor a = Random({2, 3, 4, 5});
  const Tensor matrix = Random({5, 6});
  const Tensor wide = Random({2, 3, 5, 6});
  const Tensor repeated = Random({1, 1, 5, 6});
  const auto near =
      Pointwise(DoubleNear(1e-12), NaiveMatmul(Read(a), Read(matrix), 6, 4, 5, 6, true));
  EXPECT_THAT(Read(Matmul(a, matrix)), near);
  EXPECT_THAT(Read(Matmul(a, matrix.Transpose(0, 1), {.transpose_b = true})), near);
  EXPECT_THAT(Read(Matmul(a.Transpose(-1, -2), matrix.Expand({2, 3, 5, 6}), {.transpose_a = true})),
              near);
  EXPECT_THAT(Read(Matmul(a, wide)),
              Pointwise(DoubleNear(1e-12), NaiveMatmul(Read(a), Read(wide), 6, 4, 5, 6, false)));
  EXPECT_THAT(Read(Matmul(a, repeated)),
              Pointwise(DoubleNear(1e-12), NaiveMatmul(Read(a), Read(repeated), 6, 4, 5, 6, true)));
  EXPECT_EQ(Matmul(Random({5}), matrix).shape(), (Shape{6}));
  EXPECT_EQ(Matmul(a, Random({5})).shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(Matmul(Random({5}), Random({5})).shape(), Shape{});
  EXPECT_THAT(Matmul(a, Random({4, 5, 6})).status().message(), HasSubstr("broadcast"));
}

TEST_F(OpsTest, ReductionsKeepOrDropDims) {
  const Tensor x = Random({2, 3, 4});
  EXPECT_EQ(Sum(x).shape(), Shape{});
  EXPECT_EQ(Sum(x, {-1}).shape(), (Shape{2, 3}));
  EXPECT_EQ(Mean(x, {0, 2}, Dims::kKeep).shape(), (Shape{1, 3, 1}));
  EXPECT_THAT(Sum(x, {3}).status().message(), HasSubstr("reduce_sum"));
  EXPECT_FALSE(Sum(x, {0, 0}).ok());
  EXPECT_THAT(Read(Sum(Gt(x, -2))), ElementsAre(24));
}

TEST_F(OpsTest, SoftmaxOfAnyDimSumsToOne) {
  const Tensor x = Random({2, 3, 4});
  for (int dim : {0, 1, -1}) {
    const std::vector<double> sums = Read(Sum(Softmax(x, dim), {dim}));
    EXPECT_THAT(sums, Pointwise(DoubleNear(1e-12), std::vector<double>(sums.size(), 1.0)));
  }
  EXPECT_THAT(Read(Exp(LogSoftmax(x, 1))), Pointwise(DoubleNear(1e-12), Read(Softmax(x, 1))));
}

TEST_F(OpsTest, JoinsAndSplits) {
  const Tensor a = Random({2, 3});
  const Tensor b = Random({2, 1});
  const Tensor joined = Concat({a, b}, -1);
  EXPECT_EQ(Read(joined.Slice(1, 0, 3)), Read(a));
  EXPECT_EQ(Read(joined.Slice(1, -1, 4)), Read(b));
  const Tensor stacked = Stack({a, a}, 1);
  EXPECT_EQ(stacked.shape(), (Shape{2, 2, 3}));
  EXPECT_EQ(Read(stacked.Select(1, 1)), Read(a));
  EXPECT_EQ(Concat({a, a.To(Dtype::kF32)}, 0).dtype(), Dtype::kF64);
  EXPECT_FALSE(Concat({}, 0).ok());
}

TEST_F(OpsTest, WindowsReachIntoTheirPadding) {
  const Tensor x = Iota({1, 1, 1, 4}, 3, Dtype::kF64);  // 0 1 2 3
  const Window window = {.stride = {1, 2}, .padding_low = {0, 1}, .padding_high = {0, 1}};
  EXPECT_THAT(Read(MaxPool2d(x, {1, 2}, window)), ElementsAre(0, 2, 3));
  EXPECT_THAT(Read(AvgPool2d(x, {1, 2}, window)), ElementsAre(0, 1.5, 1.5));
  EXPECT_THAT(Read(Conv2d(x, Ones({1, 1, 1, 2}, Dtype::kF64), window)), ElementsAre(0, 3, 3));
}

TEST_F(OpsTest, NumbersTakeTheDtypeBesideThem) {
  const Tensor half = Ones({2}, Dtype::kBF16);
  EXPECT_EQ((half * 2.0).dtype(), Dtype::kBF16);
  EXPECT_EQ((half * Tensor::FromNumber(2)).dtype(), Dtype::kBF16);
  EXPECT_EQ((half * Ones({2})).dtype(), Dtype::kF32);
  EXPECT_EQ((half * Ones({2}, Dtype::kF16)).dtype(), Dtype::kF32);
  EXPECT_EQ(Sqrt(Ones({2}, Dtype::kI32)).dtype(), Dtype::kF32);
  EXPECT_THAT(Read(5.0 - Ones({1})), ElementsAre(4));
  EXPECT_THAT(Read(6.0 / Full({1}, 4, Dtype::kI64)), ElementsAre(1.5));
  EXPECT_THAT(Read(Where(Gt(Arange(3), 1), Ones({3}), Zeros({1}))), ElementsAre(0, 0, 1));
}

TEST_F(OpsTest, PoisonPassesThroughEveryKindOfOp) {
  const Tensor bad = Tensor::Poisoned(absl::DataLossError("bad"));
  const Tensor x = Random({2, 2});
  for (const Tensor& y :
       {bad + x, x * bad, Matmul(x, bad), Sum(bad), Softmax(bad, 0), bad.Reshape({4}),
        Concat({x, bad}, 0), Where(bad, x, x), Embedding(x, bad), TopK(bad, 1, 0).values,
        LayerNorm(bad, x, x), bad.Slice(0, 0, 1), Clamp(bad, 0, 1)}) {
    EXPECT_EQ(y.status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(OpsTest, GradientsOfBroadcasts) {
  const Tensor row = Random({3});
  CheckGradient([&](const Tensor& x) { return Sum(x * row * x); }, {2, 3});
  CheckGradient([&](const Tensor& x) { return Sum(Exp(x + Random({2, 3}) * 0.0) * 2.0); }, {3});
  CheckGradient([&](const Tensor& x) { return Sum(Sin(x) * row); }, {2, 1});
  CheckGradient([&](const Tensor& x) { return Sum(row / (x + 3.0)); }, {});
}

TEST_F(OpsTest, GradientsOfCompositions) {
  const Tensor weight = Random({4, 3});
  CheckGradient(
      [&](const Tensor& x) { return Sum(Silu(Matmul(x, weight)) * Gelu(Matmul(x, weight))); },
      {2, 2, 4});
  CheckGradient([&](const Tensor& x) { return Sum(Matmul(x, x.Transpose(0, 1)) * x); }, {3, 3});
  CheckGradient(
      [](const Tensor& x) {
        return Mean(Pow(Concat({x.Slice(1, 0, 2), Flip(x, {1})}, 1) + 2.0, 3));
      },
      {2, 3});
  CheckGradient([](const Tensor& x) { return Sum(Max(x, {0}) * Min(x, {0}) + Prod(x, {0})); },
                {3, 2});
  CheckGradient(
      [](const Tensor& x) {
        Tensor y = x * 2.0;
        y.Select(0, 1).Mul_(y.Select(0, 0));
        y.Transpose(0, 1).Slice(0, 0, 1).Copy_(Sin(x.Slice(1, 1, 2).Transpose(0, 1)));
        return Sum(y * y);
      },
      {2, 3});
}

TEST_F(OpsTest, GradientsOfAttention) {
  const Tensor mask = Random({1, 1, 3, 3});
  CheckGradient(
      [&](const Tensor& x) {
        const Tensor q = x.Reshape({1, 3, 4, 2});
        const Tensor k = x.Slice(2, 0, 4).Reshape({1, 3, 2, 2});
        return Sum(Attention(q, k, k * 0.5, {.causal = true, .mask = &mask}) * q);
      },
      {1, 3, 8});
}

}  // namespace
}  // namespace moai
