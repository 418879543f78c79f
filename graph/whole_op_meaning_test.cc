// What the ops that are kept whole mean, on numbers worked out by hand. Random draws are compared
// with plain loops in decompose_forward_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "graph/testing/reference_op.h"

namespace moai {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

using Tensors = std::vector<ReferenceTensor>;
using Numbers = std::vector<double>;

constexpr double kInf = std::numeric_limits<double>::infinity();

Tensors Compute(Op op, const Tensors& inputs, const OpDetails& details = {}) {
  absl::StatusOr<Tensors> outputs = RunOp(op, inputs, details);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok()) return Tensors(Entry(op).outputs);
  return *std::move(outputs);
}

auto Near(const Numbers& expected) { return Pointwise(DoubleNear(1e-12), expected); }

TEST(SoftmaxTest, IsStableAndSumsToOne) {
  const ReferenceTensor x = Floats({2, 3}, {1000, 1000, -kInf, 0, std::log(2), std::log(5)});
  EXPECT_THAT(Compute(Op::kSoftmax, {x})[0].floats, Near({0.5, 0.5, 0, 0.125, 0.25, 0.625}));
  const Numbers log = Compute(Op::kLogSoftmax, {x})[0].floats;
  EXPECT_THAT(Numbers(log.begin() + 3, log.end()),
              Near({std::log(0.125), std::log(0.25), std::log(0.625)}));
  EXPECT_EQ(log[2], -kInf);
}

TEST(CrossEntropyTest, IgnoredLabelsCostNothing) {
  const ReferenceTensor logits = Floats({3, 2}, {0, std::log(3), 0, 0, 5, 7});
  const ReferenceTensor labels = Integers({3}, {1, -100, 0});
  const OpDetails details = {.attributes = {-100}};
  const Tensors out = Compute(Op::kCrossEntropy, {logits, labels}, details);
  const double last = std::log1p(std::exp(2.0));
  EXPECT_THAT(out[0].floats, Near({std::log(4.0 / 3), 0, last}));
  EXPECT_THAT(out[1].floats, Near({std::log(4.0), std::log(2.0), 5 + last}));
  const ReferenceTensor dloss = Floats({3}, {2, 3, 0});
  EXPECT_THAT(Compute(Op::kCrossEntropyGrad, {logits, labels, out[1], dloss}, details)[0].floats,
              Near({0.5, -0.5, 0, 0, 0, 0}));
}

TEST(NormTest, OneRowByHand) {
  const ReferenceTensor x = Floats({1, 2}, {1, 5}), weight = Floats({2}, {2, 3});
  const OpDetails eps = {.numbers = {0}};
  const Tensors layer = Compute(Op::kLayerNorm, {x, weight, Floats({2}, {10, 20})}, eps);
  EXPECT_THAT(layer[0].floats, Near({8, 23}));
  EXPECT_THAT(layer[1].floats, Near({3}));
  EXPECT_THAT(layer[2].floats, Near({0.5}));
  const Tensors rms = Compute(Op::kRmsNorm, {x, weight}, eps);
  const double r = 1 / std::sqrt(13.0);
  EXPECT_THAT(rms[0].floats, Near({2 * r, 15 * r}));
  EXPECT_THAT(rms[1].floats, Near({r}));
  // Two images, one channel, one position.
  const Tensors batch =
      Compute(Op::kBatchNorm, {Floats({2, 1}, {1, 5}), Floats({1}, {2}), Floats({1}, {10})}, eps);
  EXPECT_THAT(batch[0].floats, Near({8, 12}));
  EXPECT_THAT(batch[1].floats, Near({3}));
  EXPECT_THAT(batch[2].floats, Near({4}));
  // Two groups of two channels.
  const Tensors group =
      Compute(Op::kGroupNorm,
              {Floats({1, 4}, {1, 5, 2, 4}), Floats({4}, {1, 1, 2, 2}), Floats({4}, {0, 0, 0, 1})},
              {.extents = {2}, .numbers = {0}});
  EXPECT_THAT(group[0].floats, Near({-1, 1, -2, 3}));
  EXPECT_THAT(group[2].floats, Near({0.5, 1}));
}

TEST(EmbeddingTest, LooksUpAndSums) {
  const ReferenceTensor table = Floats({3, 2}, {1, 2, 3, 4, 5, 6});
  const ReferenceTensor ids = Integers({1, 3}, {2, 0, 2}, Dtype::kI32);
  EXPECT_THAT(Compute(Op::kEmbedding, {table, ids})[0].floats, ElementsAre(5, 6, 1, 2, 5, 6));
  const ReferenceTensor dy = Floats({1, 3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(Compute(Op::kEmbeddingGrad, {ids, dy},
                      {.attributes = {static_cast<int32_t>(Dtype::kF32)}, .extents = {4}})[0]
                  .floats,
              ElementsAre(3, 4, 0, 0, 6, 8, 0, 0));
}

// Rows 2 and 3 of a table of 5: other ids give nothing, ids past the whole table are wrong.
TEST(EmbeddingTest, WindowsLeaveOtherRowsOut) {
  const ReferenceTensor table = Floats({2, 2}, {1, 2, 3, 4});
  const ReferenceTensor ids = Integers({4}, {3, 0, 2, 4}, Dtype::kI32);
  EXPECT_THAT(Compute(Op::kEmbedding, {table, ids}, {.extents = {2, 5}})[0].floats,
              ElementsAre(3, 4, 0, 0, 1, 2, 0, 0));
  const ReferenceTensor dy = Floats({4, 1}, {1, 10, 100, 1000});
  const OpDetails gradient = {.attributes = {static_cast<int32_t>(Dtype::kF32)},
                              .extents = {2, 2, 5}};
  EXPECT_THAT(Compute(Op::kEmbeddingGrad, {ids, dy}, gradient)[0].floats, ElementsAre(100, 1));
  const ReferenceTensor wrong = Integers({1}, {5}, Dtype::kI32);
  EXPECT_THAT(
      std::string(RunOp(Op::kEmbedding, {table, wrong}, {.extents = {2, 5}}).status().message()),
      ::testing::HasSubstr("index 5 at element 0 is not in [0, 5)"));
}

// Windows that lie in the padding alone are -inf; the average counts padding.
TEST(PoolTest, TreatsPaddingAsStated) {
  const ReferenceTensor x = Floats({1, 1, 1, 2}, {-4, 8});
  // One row of windows of 1 x 2, stride 2, two columns of padding before.
  const OpDetails window = {.extents = {1, 2, 0, 0, 2, 0, 1, 1, 1, 2}};
  EXPECT_THAT(Compute(Op::kMaxPool2d, {x}, window)[0].floats, ElementsAre(-kInf, 8));
  EXPECT_THAT(Compute(Op::kAvgPool2d, {x}, window)[0].floats, ElementsAre(0, 2));
}

TEST(AttentionTest, ARowThatSeesNoKeyIsZero) {
  // Two queries, one key: the causal mask leaves the first query nothing.
  const Tensors out =
      Compute(Op::kAttention,
              {Floats({1, 2, 1, 1}, {1, 1}), Floats({1, 1, 1, 1}, {3}), Floats({1, 1, 1, 1}, {5})},
              {.attributes = {1}, .numbers = {2}});
  EXPECT_THAT(out[0].floats, ElementsAre(0, 5));
  EXPECT_THAT(out[1].floats, ElementsAre(-kInf, 6));
}

}  // namespace
}  // namespace moai
