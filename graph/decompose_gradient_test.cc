// Every gradient op against central differences of its forward op, in f64.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "absl/strings/str_cat.h"
#include "graph/testing/run_node.h"

namespace moai {
namespace {

// What a gradient node reads: an input or an output of its forward node, or the gradient of the
// forward node's output 0.
struct Operand {
  enum Source { kInput, kOutput, kGradient } source = kGradient;
  size_t position = 0;
};
constexpr Operand In(size_t i) { return {Operand::kInput, i}; }
constexpr Operand Out(size_t i) { return {Operand::kOutput, i}; }
constexpr Operand kDy = {Operand::kGradient, 0};

struct GradientCase {
  Op forward;
  Op gradient;
  std::vector<Operand> operands;
  std::vector<size_t> differentiated;  // output i is the gradient of this forward input
  // Turns the forward's attributes, extents and numbers into the gradient's.
  std::function<void(const std::vector<ReferenceTensor>& inputs, NodeSpec& spec)> adapt;
};

void DropNumbers(const std::vector<ReferenceTensor>&, NodeSpec& spec) { spec.numbers.clear(); }

// Appends two extents of an input: the last two dims.
auto AppendPlane(size_t input) {
  return [input](const std::vector<ReferenceTensor>& inputs, NodeSpec& spec) {
    const Shape& shape = inputs[input].type.shape;
    spec.extents.push_back(shape[2]);
    spec.extents.push_back(shape[3]);
  };
}

const std::vector<GradientCase>& Cases() {
  static const auto& cases = *new std::vector<GradientCase>{
      {Op::kSoftmax, Op::kSoftmaxGrad, {Out(0), kDy}, {0}, {}},
      {Op::kLogSoftmax, Op::kLogSoftmaxGrad, {Out(0), kDy}, {0}, {}},
      {Op::kLayerNorm,
       Op::kLayerNormGrad,
       {In(0), In(1), Out(1), Out(2), kDy},
       {0, 1, 2},
       DropNumbers},
      {Op::kRmsNorm, Op::kRmsNormGrad, {In(0), In(1), Out(1), kDy}, {0, 1}, DropNumbers},
      {Op::kGroupNorm,
       Op::kGroupNormGrad,
       {In(0), In(1), Out(1), Out(2), kDy},
       {0, 1, 2},
       DropNumbers},
      {Op::kBatchNorm, Op::kBatchNormGrad, {In(0), In(1), Out(1), Out(2), kDy}, {0, 1, 2}, {}},
      {Op::kAttention,
       Op::kAttentionGrad,
       {In(0), In(1), In(2), Out(0), Out(1), kDy, In(3)},  // In(3): the mask, where there is one
       {0, 1, 2},
       {}},
      {Op::kRotary,
       Op::kRotary,
       {kDy, In(1), In(2)},
       {0},
       [](const auto&, NodeSpec& spec) { spec.attributes[0] = 1 - spec.attributes[0]; }},
      {Op::kConv2d, Op::kConv2dGradInput, {kDy, In(1)}, {0}, AppendPlane(0)},
      {Op::kConv2d, Op::kConv2dGradWeight, {kDy, In(0)}, {1}, AppendPlane(1)},
      {Op::kUnfold,
       Op::kFold,
       {kDy},
       {0},
       [](const std::vector<ReferenceTensor>& inputs, NodeSpec& spec) {
         spec.extents.resize(spec.extents.size() - 2);
         AppendPlane(0)(inputs, spec);
       }},
      {Op::kMaxPool2d, Op::kMaxPool2dGrad, {In(0), Out(0), kDy}, {0}, {}},
      {Op::kAvgPool2d, Op::kAvgPool2dGrad, {kDy}, {0}, AppendPlane(0)},
      {Op::kEmbedding,
       Op::kEmbeddingGrad,
       {In(1), kDy},
       {0},
       [](const std::vector<ReferenceTensor>& inputs, NodeSpec& spec) {
         spec.attributes = {static_cast<int32_t>(Dtype::kF64)};
         spec.extents = {inputs[0].type.shape[0]};
       }},
      {Op::kCrossEntropy, Op::kCrossEntropyGrad, {In(0), In(1), Out(1), kDy}, {0}, {}},
  };
  return cases;
}

double Uniform(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-52 - 1;
}

// Sum of dy * y; an infinite y (a window of nothing but padding) does not change and counts 0.
double Dot(const ReferenceTensor& y, const ReferenceTensor& dy) {
  double sum = 0;
  for (size_t i = 0; i < y.floats.size(); ++i) {
    if (std::isfinite(y.floats[i])) sum += y.floats[i] * dy.floats[i];
  }
  return sum;
}

std::vector<ReferenceTensor> GradientInputs(const GradientCase& test,
                                            const std::vector<ReferenceTensor>& inputs,
                                            const std::vector<ReferenceTensor>& outputs,
                                            const ReferenceTensor& dy) {
  std::vector<ReferenceTensor> result;
  for (const Operand& operand : test.operands) {
    switch (operand.source) {
      case Operand::kInput:
        if (operand.position < inputs.size()) result.push_back(inputs[operand.position]);
        break;
      case Operand::kOutput:
        result.push_back(outputs[operand.position]);
        break;
      case Operand::kGradient:
        result.push_back(dy);
        break;
    }
  }
  return result;
}

void CheckOneDraw(const GradientCase& test, std::mt19937_64& random, double& largest) {
  const auto spec =
      RandomNodeSpec(test.forward, Dtype::kF64, random, {.allow_empty = false, .max_extent = 4});
  ASSERT_TRUE(spec.ok()) << spec.status();
  GraphBuilder builder;
  std::vector<ValueId> values;
  for (const TensorType& type : spec->inputs) {
    values.push_back(
        builder.AddInput(InputKind::kValue, static_cast<uint32_t>(values.size()), type));
  }
  ASSERT_TRUE(
      builder.AddNode(spec->op, values, spec->attributes, spec->extents, spec->numbers).ok());
  std::vector<ReferenceTensor> inputs = RandomReferenceBindings(builder.Finish(), random);
  // Equal elements would make a maximum a kink.
  for (ReferenceTensor& input : inputs) {
    for (double& element : input.floats) element += 0.1 * Uniform(random);
  }
  const auto outputs = RunNode(*spec, inputs);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  ReferenceTensor dy = ReferenceTensor::Zeros((*outputs)[0].type);
  for (double& element : dy.floats) element = Uniform(random);

  NodeSpec gradient = *spec;
  gradient.op = test.gradient;
  if (test.adapt) test.adapt(inputs, gradient);
  const auto gradients = RunNode(gradient, GradientInputs(test, inputs, *outputs, dy));
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  ASSERT_EQ(gradients->size(), test.differentiated.size());

  constexpr double kStep = 1e-6;
  for (size_t i = 0; i < test.differentiated.size(); ++i) {
    const size_t position = test.differentiated[i];
    const ReferenceTensor& got = (*gradients)[i];
    ASSERT_EQ(got.type, inputs[position].type);
    for (int probe = 0; probe < 8; ++probe) {
      const size_t at = random() % got.floats.size();
      const auto value_at = [&](double offset) {
        std::vector<ReferenceTensor> moved = inputs;
        moved[position].floats[at] += offset;
        return Dot((*RunNode(*spec, moved))[0], dy);
      };
      const double expected = (value_at(kStep) - value_at(-kStep)) / (2 * kStep);
      ASSERT_NEAR(got.floats[at], expected, 1e-5 * (1 + std::abs(expected)))
          << "gradient of input " << position << " " << ToString(got.type) << " at element " << at;
      largest = std::max(largest, std::abs(expected));
    }
  }
}

TEST(DecomposeGradientTest, GradientsAreCentralDifferences) {
  std::mt19937_64 random(1);
  for (const GradientCase& test : Cases()) {
    double largest = 0;
    for (int draw = 0; draw < 20; ++draw) {
      SCOPED_TRACE(absl::StrCat(Name(test.gradient), " draw ", draw));
      ASSERT_NO_FATAL_FAILURE(CheckOneDraw(test, random, largest));
    }
    EXPECT_GT(largest, 0.1) << Name(test.gradient) << ": nothing but zeros was compared";
  }
}

// No gradient op is left out above.
TEST(DecomposeGradientTest, EveryGradientOpHasACase) {
  for (const OpEntry& entry : AllOps()) {
    if (entry.name.find("_grad") == absl::string_view::npos) continue;
    bool found = false;
    for (const GradientCase& test : Cases()) found |= test.gradient == entry.op;
    EXPECT_TRUE(found) << entry.name;
  }
}

}  // namespace
}  // namespace moai
