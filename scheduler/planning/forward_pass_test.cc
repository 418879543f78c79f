#include "scheduler/planning/forward_pass.h"

#include <vector>

#include "graph/builder.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

// A step of plain gradient descent on a chain of square products, with its loss.
struct Chain {
  Chain(int64_t samples, int64_t width, int layers, int64_t classes) {
    GraphBuilder builder;
    const auto add = [&](Op op, std::vector<ValueId> inputs, std::vector<int32_t> attributes = {}) {
      ++nodes;
      return builder.AddNode(op, inputs, attributes, {}).value();
    };
    ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{samples, width}});
    const ValueId labels = builder.AddInput(InputKind::kFeed, 1, {Dtype::kI32, Shape{samples}});
    std::vector<ValueId> weights, read;
    for (int i = 0; i <= layers; ++i) {
      weights.push_back(
          builder.AddInput(InputKind::kSlot, uint32_t(i),
                           {Dtype::kF32, Shape{width, i == layers ? classes : width}}));
      read.push_back(x);
      x = add(Op::kMatmul, {x, weights.back()}, {0, 0});
    }
    const ValueId loss = add(Op::kCrossEntropy, {x, labels}, {-100});
    loss_node = nodes - 1;
    const ValueId ones = add(Op::kMul, {loss, loss});
    ValueId dx = add(Op::kCrossEntropyGrad, {x, labels, loss + 1, ones}, {-100});
    std::vector<ValueId> gradients(weights.size());
    for (int i = layers; i >= 0; --i) {
      gradients[size_t(i)] = add(Op::kMatmul, {read[size_t(i)], dx}, {1, 0});
      dx = add(Op::kMatmul, {dx, weights[size_t(i)]}, {0, 1});
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      builder.AddOutput(OutputKind::kSlot, add(Op::kSub, {weights[i], gradients[i]}), uint32_t(i));
    }
    builder.AddOutput(OutputKind::kValue, loss);
    captured = builder.Finish();
  }

  CapturedGraph captured;
  uint32_t nodes = 0;
  uint32_t loss_node = 0;
};

uint32_t TurnOf(const Chain& chain) {
  return FindForwardPass(chain.captured.graph, chain.captured.types).turn;
}

TEST(ForwardPass, EndsAtTheLoss) {
  const Chain chain(/*samples=*/512, /*width=*/16, /*layers=*/8, /*classes=*/32);
  EXPECT_NEAR(TurnOf(chain), chain.loss_node, 2);
}

// The gradients of weights, which are alive to the end, are larger than all that the forward pass
// keeps.
TEST(ForwardPass, EndsAtTheLossWhereABatchIsSmall) {
  const Chain chain(/*samples=*/2, /*width=*/64, /*layers=*/8, /*classes=*/32);
  EXPECT_NEAR(TurnOf(chain), chain.loss_node, 2);
}

// A forward pass alone.
TEST(ForwardPass, IsAllThereIsWithoutABackwardPass) {
  GraphBuilder builder;
  ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{4, 8}});
  const ValueId w = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, Shape{8, 8}});
  x = builder.AddNode(Op::kMatmul, {x, w}, {0, 0}).value();
  builder.AddOutput(OutputKind::kValue, x);
  const CapturedGraph captured = builder.Finish();
  EXPECT_EQ(FindForwardPass(captured.graph, captured.types).turn, 0u);
}

}  // namespace
}  // namespace moai
