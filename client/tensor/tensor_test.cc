#include "client/tensor/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/autograd/grad_node.h"
#include "client/capture/recorder.h"
#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/random.h"
#include "client/testing/reference_session.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TensorTest : public ::testing::Test {
 protected:
  TensorTest()
      : session_(
            std::make_shared<ReferenceSession>(ReferenceSession::Options{.keep_graphs = true})) {
    Recorder::SetCurrent(Recorder::Create(session_));
  }
  ~TensorTest() override { Recorder::SetCurrent(nullptr); }

  static std::vector<float> Read(const Tensor& tensor) {
    absl::StatusOr<std::vector<float>> elements = tensor.ToVector<float>();
    EXPECT_TRUE(elements.ok()) << elements.status();
    return elements.ok() ? *elements : std::vector<float>();
  }
  static Tensor Vector(std::vector<float> elements) {
    return Tensor::FromData(elements, {static_cast<int64_t>(elements.size())});
  }
  Recorder& recorder() { return *Recorder::Current(); }

  std::shared_ptr<ReferenceSession> session_;
};

TEST_F(TensorTest, ComputesWhatWasRecorded) {
  const Tensor x = Vector({1, 2, 3});
  const Tensor y = (x * 2.0 + x) / Vector({1, 2, 3});
  EXPECT_EQ(session_->stats().steps, 0u);
  EXPECT_THAT(Read(y), ElementsAre(3, 3, 3));
  EXPECT_EQ(session_->stats().steps, 1u);
}

TEST_F(TensorTest, BroadcastsAndPromotes) {
  const Tensor x = Tensor::FromData<int64_t>(std::vector<int64_t>{1, 2}, {2, 1});
  const Tensor y = Vector({0.5, 1});
  const Tensor sum = x + y;
  EXPECT_EQ(sum.type(), (TensorType{Dtype::kF32, {2, 2}}));
  EXPECT_THAT(Read(sum), ElementsAre(1.5, 2, 2.5, 3));
  EXPECT_EQ((x / 2.0).dtype(), Dtype::kF32);
  EXPECT_EQ((x + 1.0).dtype(), Dtype::kI64);
  EXPECT_EQ((x + 0.5).dtype(), Dtype::kF32);
}

TEST_F(TensorTest, StructureDoesNotDependOnNumbers) {
  for (double factor : {2.0, 3.0}) {
    Tensor y = Vector({1, 2}) * factor + 2.0;
    EXPECT_THAT(Read(y), ElementsAre(factor + 2, 2 * factor + 2));
  }
  ASSERT_EQ(session_->steps().size(), 2u);
  EXPECT_EQ(session_->stats().graphs_registered, 1u);
  EXPECT_EQ(session_->steps()[0].graph->scalar_count, 2u);
}

TEST_F(TensorTest, OnlyWhatIsReferredToIsKept) {
  Tensor kept = Vector({1}) + 1.0;
  { const Tensor dropped = kept * 3.0; }
  const Tensor last = kept * 2.0;
  ASSERT_TRUE(recorder().Flush().ok());
  EXPECT_EQ(session_->steps()[0].graph->outputs.size(), 2u);
  EXPECT_THAT(Read(last), ElementsAre(4));
  EXPECT_EQ(session_->object_count(), 2u);
  kept = Tensor();
  const Tensor other = last + 1.0;
  ASSERT_TRUE(recorder().Flush().ok());
  EXPECT_EQ(session_->object_count(), 2u);
}

TEST_F(TensorTest, ViewsShareTheirStorage) {
  Tensor x = Tensor::FromData<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  Tensor row = x.Select(0, 1);
  Tensor column = x.Transpose(0, 1).Select(0, 2);
  row.Fill_(0);
  EXPECT_THAT(Read(x), ElementsAre(1, 2, 3, 0, 0, 0));
  EXPECT_THAT(Read(column), ElementsAre(3, 0));
  column.Add_(7);
  EXPECT_THAT(Read(x), ElementsAre(1, 2, 10, 0, 0, 7));
  EXPECT_THAT(Read(row), ElementsAre(0, 0, 7));
  // A reshape that no strides can express is a copy.
  Tensor copy = x.Transpose(0, 1).Reshape({6});
  copy.Zero_();
  EXPECT_THAT(Read(x), ElementsAre(1, 2, 10, 0, 0, 7));
}

TEST_F(TensorTest, WritingToAnExpandedTensorIsAnError) {
  Tensor x = Vector({1});
  Tensor wide = x.Expand({3});
  wide.Fill_(2);
  EXPECT_THAT(wide.status().message(), HasSubstr("expanded"));
  EXPECT_THAT(Read(x), ElementsAre(1));
}

TEST_F(TensorTest, StateIsReplacedInPlace) {
  Tensor weight = Zeros({2});
  weight.MakeState();
  for (int step = 0; step < 4; ++step) {
    weight.Add_(1);
    ASSERT_TRUE(recorder().MarkStep().ok());
  }
  EXPECT_THAT(Read(weight), ElementsAre(4, 4));
  EXPECT_EQ(session_->object_count(), 1u);
  // The first step makes the weight; the others are one and the same.
  EXPECT_EQ(session_->stats().graphs_registered, 2u);
  EXPECT_EQ(session_->steps()[1].slots, session_->steps()[3].slots);
  EXPECT_TRUE(session_->steps()[3].values.empty());
}

TEST_F(TensorTest, OldContentOfStateSurvivesWhoRefersToIt) {
  Tensor weight = Vector({1, 2});
  weight.MakeState();
  ASSERT_TRUE(recorder().MarkStep().ok());
  const Tensor before = weight.Clone();
  weight.Mul_(10);
  ASSERT_TRUE(recorder().MarkStep().ok());
  EXPECT_THAT(Read(before), ElementsAre(1, 2));
  EXPECT_THAT(Read(weight), ElementsAre(10, 20));
}

TEST_F(TensorTest, TwoStatesMayShareAValue) {
  Tensor a = Zeros({1});
  Tensor b = Ones({1});
  a.MakeState();
  b.MakeState();
  ASSERT_TRUE(recorder().MarkStep().ok());
  a.Copy_(b);
  b.Add_(1);
  ASSERT_TRUE(recorder().MarkStep().ok());
  EXPECT_THAT(Read(a), ElementsAre(1));
  EXPECT_THAT(Read(b), ElementsAre(2));
  const Tensor sum = a + b;
  a.Copy_(sum);
  b.Copy_(sum);
  ASSERT_TRUE(recorder().MarkStep().ok());
  EXPECT_THAT(Read(a), ElementsAre(3));
  EXPECT_THAT(Read(b), ElementsAre(3));
}

TEST_F(TensorTest, ShapeErrorsPoisonAndSayWhere) {
  const Tensor x = Matmul(Zeros({2, 3}), Zeros({4, 5}));
  const Tensor y = Relu(x) + 1.0;
  const absl::Status status = y.ToVector<float>().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("matmul"));
  EXPECT_THAT(status.message(), HasSubstr("tensor_test.cc"));
  EXPECT_FALSE(y.Backward().ok());
}

TEST_F(TensorTest, ErrorsOfTheDataArriveAtTheReadAndCommitNothing) {
  Tensor table = Ones({3, 2});
  table.MakeState();
  ASSERT_TRUE(recorder().MarkStep().ok());
  const Tensor bad = Embedding(table, Tensor::FromData<int32_t>(std::vector<int32_t>{3}, {1}));
  table.Mul_(5);
  ASSERT_TRUE(recorder().MarkStep().ok());
  EXPECT_FALSE(bad.ToVector<float>().ok());
  EXPECT_THAT(Read(table.Slice(0, 0, 1)), ElementsAre(1, 1));
}

// Steps of one parameter. `read` is called with the loss, before and after the gradient is taken.
class SplitStepTest : public TensorTest {
 protected:
  SplitStepTest() {
    Recorder::SetCurrent(Recorder::Create(
        session_, {.warn = [this](absl::string_view line) { warnings_.emplace_back(line); }}));
    weight_ = Vector({1, 2});
    weight_.MakeState();
    weight_.RequiresGrad();
  }

  template <typename Read>
  void Step(const Read& read) {
    const Tensor loss = Sum(Exp(weight_) * Vector({3, 4}));
    read(loss, /*before=*/true);
    ASSERT_TRUE(loss.Backward().ok());
    {
      const NoGradGuard no_grad;
      weight_.Sub_(weight_.Grad() * 0.1);
    }
    weight_.ClearGrad();
    ASSERT_TRUE(recorder().MarkStep().ok());
    read(loss, /*before=*/false);
  }

  Tensor weight_;
  std::vector<std::string> warnings_;
};

TEST_F(SplitStepTest, AReadBeforeBackwardInEveryStepIsToldOnce) {
  int line = 0;
  for (int step = 0; step < 5; ++step) {
    Step([&](const Tensor& loss, bool before) {
      if (before) {
        line = __LINE__ + 1;
        EXPECT_TRUE(loss.Item().ok());
      }
    });
  }
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("tensor_test.cc:" + std::to_string(line) + ": a read in"));
  EXPECT_THAT(warnings_[0], HasSubstr(" bytes) may have to be stored in between"));
}

TEST_F(SplitStepTest, OtherReadsAreNot) {
  for (int step = 0; step < 5; ++step) {
    Step([&](const Tensor& loss, bool before) {
      if (!before) {
        EXPECT_TRUE(loss.Item().ok());  // the usual place
        EXPECT_TRUE((loss * 2.0).Item().ok());
      } else if (step == 2) {
        EXPECT_TRUE(loss.Item().ok());  // somebody looking once
      }
    });
  }
  EXPECT_THAT(warnings_, ElementsAre());
}

TEST_F(TensorTest, LongLoopsAreCutAtTheSamePlaces) {
  Recorder::SetCurrent(Recorder::Create(
      session_, {.min_nodes_to_cut = 50, .max_nodes = 100, .max_feed_bytes = 1024}));
  Tensor x = Vector({1});
  for (int i = 0; i < 200; ++i) x = Tanh(Exp(-x) * 0.5 + x);
  ASSERT_TRUE(recorder().Flush().ok());
  // The first graph starts from a feed, the last one is shorter, all between are the same.
  EXPECT_GE(session_->stats().steps, 10u);
  EXPECT_LE(session_->stats().graphs_registered, 3u);
}

TEST_F(TensorTest, ViewsThatCanBeMadeAgainAreNotKept) {
  const Tensor x = Normal({4, 4});
  const Tensor view = x.Transpose(0, 1);
  const std::vector<float> before = Read(view);
  EXPECT_EQ(session_->object_count(), 2u);  // it was asked for
  const Tensor other = x.Slice(0, 1, 2);
  ASSERT_TRUE(recorder().Flush().ok());
  EXPECT_EQ(session_->object_count(), 2u);
  EXPECT_THAT(Read(other), ElementsAre(before[1], before[5], before[9], before[13]));
}

TEST_F(TensorTest, GradientsFlowThroughViewsAndInPlaceOps) {
  Tensor x = Vector({1, 2, 3});
  x.RequiresGrad();
  Tensor y = x * x;
  y.Slice(0, 0, 1).Mul_(10);  // y = [10 x0^2, x1^2, x2^2]
  y.Select(0, 2).Copy_(x.Select(0, 0));
  ASSERT_TRUE(Sum(y).Backward().ok());
  EXPECT_THAT(Read(x.Grad()), ElementsAre(21, 4, 0));
}

TEST_F(TensorTest, BackwardAccumulatesAndKeepsItsSlot) {
  Tensor x = Vector({1, 2});
  x.MakeState().RequiresGrad();
  for (int step = 0; step < 3; ++step) {
    x.ClearGrad();
    ASSERT_TRUE(Sum(x * x).Backward().ok());
    ASSERT_TRUE(Sum(x).Backward().ok());
    EXPECT_THAT(Read(x.Grad()), ElementsAre(3, 5));
  }
  EXPECT_EQ(session_->steps()[1].slots, session_->steps()[2].slots);
}

TEST_F(TensorTest, SecondBackwardNeedsTheGraph) {
  Tensor x = Vector({3});
  x.RequiresGrad();
  const Tensor y = Sum(x * x);
  ASSERT_TRUE(y.Backward({.retain_graph = true}).ok());
  ASSERT_TRUE(y.Backward().ok());
  EXPECT_THAT(Read(x.Grad()), ElementsAre(12));
  EXPECT_THAT(y.Backward().message(), HasSubstr("second time"));
}

TEST_F(TensorTest, DetachAndNoGradStopGradients) {
  Tensor x = Vector({3});
  x.RequiresGrad();
  EXPECT_FALSE((x.Detach() * 2.0).requires_grad());
  {
    const NoGradGuard no_grad;
    EXPECT_FALSE((x * 2.0).requires_grad());
    x.Add_(1);
  }
  EXPECT_TRUE((x * 2.0).requires_grad());
  ASSERT_TRUE(Sum(x * x.Detach()).Backward().ok());
  EXPECT_THAT(Read(x.Grad()), ElementsAre(4));
  x.Add_(1);
  EXPECT_THAT(x.status().message(), HasSubstr("NoGradGuard"));
}

TEST_F(TensorTest, WeightsAreCastOnceAStep) {
  Tensor weight = Ones({2, 2});
  weight.MakeState().RequiresGrad();
  ASSERT_TRUE(recorder().MarkStep().ok());
  const Tensor x = Ones({1, 2});
  const Autocast autocast(Dtype::kBF16);
  const Tensor y = Matmul(Matmul(x, weight), weight);
  EXPECT_EQ(y.dtype(), Dtype::kBF16);
  ASSERT_TRUE(Sum(y).Backward().ok());
  ASSERT_TRUE(recorder().MarkStep().ok());
  int casts_of_weight = 0;
  const StepRequest& step = session_->steps().back();
  for (const Node& node : step.graph->nodes) {
    casts_of_weight += node.op == Op::kCast && node.inputs[0] == 1;
  }
  EXPECT_LE(casts_of_weight, 1);
  EXPECT_THAT(Read(weight.Grad()), ElementsAre(4, 4, 4, 4));
}

TEST_F(TensorTest, RandomNumbersDoNotDependOnCuts) {
  ManualSeed(7);
  const Tensor a = Normal({3});
  const Tensor b = Normal({3});
  const std::vector<float> together = Read(b);
  ManualSeed(7);
  const std::vector<float> first = Read(Normal({3}));
  EXPECT_EQ(Read(Normal({3})), together);
  EXPECT_EQ(Read(a), first);
  EXPECT_NE(first, together);
}

TEST(TensorWithoutRecorderTest, IsPoisoned) {
  EXPECT_EQ(Zeros({1}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Tensor().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace moai
