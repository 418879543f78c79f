// Cross entropy of classes that are split over devices, against one device.
#include "scheduler/partition/vocabulary_loss.h"

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/interpreter.h"
#include "gtest/gtest.h"
#include "scheduler/partition/partitioner.h"
#include "scheduler/partition/testing/run_on_devices.h"

namespace moai {
namespace {

using testing::HasSubstr;

constexpr double kTolerance = 1e-6;

// Losses and logsumexps of [rows, classes], and the gradient of the losses' squares. Every node's
// classes are split over the devices.
class SplitLoss {
 public:
  SplitLoss(int64_t rows, int64_t classes, int64_t devices, int32_t ignore, Dtype label_dtype) {
    GraphBuilder builder;
    const ValueId logits =
        builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{rows, classes}});
    const ValueId labels = builder.AddInput(InputKind::kFeed, 1, {label_dtype, Shape{rows}});
    const ValueId loss = *builder.AddNode(Op::kCrossEntropy, {logits, labels}, {ignore});
    const ValueId square = *builder.AddNode(Op::kMul, {loss, loss});
    const ValueId gradient =
        *builder.AddNode(Op::kCrossEntropyGrad, {logits, labels, loss + 1, loss}, {ignore});
    for (ValueId value : {square, ValueId(loss + 1), gradient}) {
      builder.AddOutput(OutputKind::kValue, value);
    }
    captured_ = builder.Finish();
    std::vector<IndexSignature> signatures;
    for (const Node& node : captured_.graph.nodes) {
      std::vector<TensorType> inputs;
      for (ValueId input : node.inputs) inputs.push_back(captured_.types[input]);
      signatures.push_back(*InstantiateSignature(
          node, inputs,
          absl::MakeConstSpan(captured_.types).subspan(node.first_output, node.output_count)));
    }
    const Factors factors = Factors::Analyze(captured_.graph, captured_.types, signatures);
    request_.graph = &captured_.graph;
    request_.sizes = captured_.sizes;
    request_.types = captured_.types;
    request_.mesh.axes.push_back({"model", devices});
    for (int64_t device = 0; device < devices; ++device) request_.devices.push_back(device);
    request_.inputs.assign(2, Placement(1));
    request_.outputs.assign(3, Placement(1));
    request_.strategies.emplace_back();
    for (uint32_t node = 0; node < signatures.size(); ++node) {
      std::vector<NodeStrategy>& all = strategies_.emplace_back();
      ListStrategies(captured_.graph, node, captured_.types, signatures[node], factors, all);
      const NodeStrategy* chosen = &all.front();
      for (const NodeStrategy& strategy : all) {
        const AxisPlacement& first = strategy.inputs[0];
        if (first.kind == PlacementKind::kShard && first.dim == 1) chosen = &strategy;
      }
      split_ += chosen->whole() ? 0 : 1;
      request_.strategies[0].push_back(chosen);
    }
  }

  int split() const { return split_; }
  PartitionRequest& request() { return request_; }

  absl::StatusOr<DevicesResult> OnDevices(const std::vector<ReferenceTensor>& bindings) const {
    return RunOnDevices(request_, bindings, kTolerance);
  }
  absl::StatusOr<std::vector<ReferenceTensor>> OnOne(
      const std::vector<ReferenceTensor>& bindings) const {
    return Interpret(captured_.graph, captured_.sizes, bindings);
  }
  std::vector<ReferenceTensor> Bindings(std::vector<double> logits,
                                        std::vector<int64_t> labels) const {
    ReferenceTensor x{.type = captured_.types[captured_.graph.inputs[0].value]};
    ReferenceTensor y{.type = captured_.types[captured_.graph.inputs[1].value]};
    x.floats = std::move(logits);
    y.integers = std::move(labels);
    return {x, y};
  }

 private:
  CapturedGraph captured_;
  std::vector<std::vector<NodeStrategy>> strategies_;
  PartitionRequest request_;
  int split_ = 0;
};

TEST(VocabularyLoss, IsWhatOneDeviceComputes) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const int64_t rows = 1 + random() % 5, devices = 1 + random() % 4;
    const int64_t classes = devices + random() % 9;  // rarely even parts
    // A label that is ignored may be a class as well.
    const int32_t ignore = random() % 2 == 0 ? -100 : int32_t(random() % size_t(classes));
    SplitLoss loss(rows, classes, devices, ignore, random() % 2 == 0 ? Dtype::kI32 : Dtype::kI64);
    ASSERT_EQ(loss.split(), classes > 1 ? 2 : 0);
    std::vector<double> logits;
    std::vector<int64_t> labels;
    for (int64_t k = 0; k < rows * classes; ++k)
      logits.push_back(double(random() % 2000) / 50 - 20);
    for (int64_t k = 0; k < rows; ++k) {
      labels.push_back(random() % 4 == 0 ? ignore : int64_t(random() % size_t(classes)));
    }
    const auto bindings = loss.Bindings(logits, labels);
    const auto expected = loss.OnOne(bindings);
    ASSERT_TRUE(expected.ok()) << expected.status();
    const auto got = loss.OnDevices(bindings);
    ASSERT_TRUE(got.ok()) << got.status();
    for (size_t output = 0; output < expected->size(); ++output) {
      for (size_t k = 0; k < (*expected)[output].floats.size(); ++k) {
        const double wanted = (*expected)[output].floats[k];
        ASSERT_NEAR(got->outputs[output].floats[k], wanted, kTolerance * (1 + std::abs(wanted)))
            << output << " " << k << " of " << rows << " x " << classes << " on " << devices;
      }
    }
  }
}

// Whoever holds the classes: the user knows the limit of all.
TEST(VocabularyLoss, NamesTheWholeRangeOfALabelThatIsNoClass) {
  for (const int64_t label : {int64_t{6}, int64_t{-1}, int64_t{1000000}}) {
    const SplitLoss loss(2, 6, 3, -100, Dtype::kI64);
    const auto got = loss.OnDevices(loss.Bindings(std::vector<double>(12, 1.0), {3, label}));
    EXPECT_TRUE(absl::IsInvalidArgument(got.status())) << got.status();
    EXPECT_THAT(std::string(got.status().message()),
                HasSubstr(std::to_string(label) + " at element 1 is not in [0, 6)"));
  }
}

TEST(VocabularyLoss, CannotBeSplitAlongTime) {
  SplitLoss loss(2, 6, 1, -100, Dtype::kI64);
  loss.request().micro_batches = 2;
  loss.request().strategies.push_back(loss.request().strategies[0]);
  EXPECT_TRUE(absl::IsInvalidArgument(Partition(loss.request()).status()));
}

}  // namespace
}  // namespace moai
