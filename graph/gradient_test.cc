// Gradient ops against central finite differences of their forward ops, in f64.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "graph/op_schema.h"
#include "graph/parts.h"
#include "graph/testing/reference_op.h"

namespace moai {
namespace {

using Tensors = std::vector<ReferenceTensor>;

// One forward node with its inputs and outputs, and a gradient for its first output.
struct Forward {
  NodeSpec spec;
  Tensors inputs;
  Tensors outputs;
  ReferenceTensor dy;

  OpDetails details() const {
    return {{spec.attributes.begin(), spec.attributes.end()},
            {spec.extents.begin(), spec.extents.end()},
            {spec.numbers.begin(), spec.numbers.end()}};
  }
  const ReferenceTensor& in(size_t i) const { return inputs[i]; }
  const ReferenceTensor& out(size_t i) const { return outputs[i]; }
  int64_t in_extent(size_t i, int dim) const { return inputs[i].type.shape[dim]; }
};

// How the gradient op is called, and which inputs of the forward op its outputs are gradients of.
struct Gradient {
  Op forward;
  Op gradient;
  std::vector<size_t> of;
  std::function<Tensors(const Forward&)> inputs;
  std::function<OpDetails(const Forward&)> details;
};

OpDetails Same(const Forward& f) { return f.details(); }
OpDetails WithoutNumbers(const Forward& f) {
  OpDetails details = f.details();
  details.numbers.clear();
  return details;
}
std::function<OpDetails(const Forward&)> WithExtentsOf(size_t input, int first_dim) {
  return [=](const Forward& f) {
    OpDetails details = f.details();
    details.extents.push_back(f.in_extent(input, first_dim));
    details.extents.push_back(f.in_extent(input, first_dim + 1));
    return details;
  };
}

// x, weight, two statistics, dy.
Tensors NormInputs(const Forward& f) { return {f.in(0), f.in(1), f.out(1), f.out(2), f.dy}; }

std::vector<Gradient> Gradients() {
  const auto y_dy = [](const Forward& f) -> Tensors { return {f.out(0), f.dy}; };
  return {
      {Op::kSoftmax, Op::kSoftmaxGrad, {0}, y_dy, Same},
      {Op::kLogSoftmax, Op::kLogSoftmaxGrad, {0}, y_dy, Same},
      {Op::kLayerNorm, Op::kLayerNormGrad, {0, 1, 2}, NormInputs, WithoutNumbers},
      {Op::kGroupNorm, Op::kGroupNormGrad, {0, 1, 2}, NormInputs, WithoutNumbers},
      {Op::kBatchNorm, Op::kBatchNormGrad, {0, 1, 2}, NormInputs, Same},
      {Op::kRmsNorm,
       Op::kRmsNormGrad,
       {0, 1},
       [](const Forward& f) -> Tensors {
         return {f.in(0), f.in(1), f.out(1), f.dy};
       },
       WithoutNumbers},
      {Op::kAttention,
       Op::kAttentionGrad,
       {0, 1, 2},
       [](const Forward& f) {
         Tensors inputs = {f.in(0), f.in(1), f.in(2), f.out(0), f.out(1), f.dy};
         if (f.inputs.size() > 3) inputs.push_back(f.in(3));
         return inputs;
       },
       Same},
      {Op::kRotary,
       Op::kRotary,
       {0},
       [](const Forward& f) -> Tensors {
         return {f.dy, f.in(1), f.in(2)};
       },
       [](const Forward& f) { return OpDetails{.attributes = {1 - f.spec.attributes[0]}}; }},
      {Op::kCrossEntropy,
       Op::kCrossEntropyGrad,
       {0},
       [](const Forward& f) -> Tensors {
         return {f.in(0), f.in(1), f.out(1), f.dy};
       },
       Same},
      {Op::kEmbedding,
       Op::kEmbeddingGrad,
       {0},
       [](const Forward& f) -> Tensors {
         return {f.in(1), f.dy};
       },
       [](const Forward& f) {
         OpDetails details{.attributes = {static_cast<int32_t>(Dtype::kF64)},
                           .extents = {f.in_extent(0, 0)}};
         details.extents.insert(details.extents.end(), f.spec.extents.begin(),
                                f.spec.extents.end());
         return details;
       }},
      {Op::kConv2d,
       Op::kConv2dGradInput,
       {0},
       [](const Forward& f) -> Tensors {
         return {f.dy, f.in(1)};
       },
       WithExtentsOf(0, 2)},
      {Op::kConv2d,
       Op::kConv2dGradWeight,
       {1},
       [](const Forward& f) -> Tensors {
         return {f.dy, f.in(0)};
       },
       WithExtentsOf(1, 2)},
      {Op::kUnfold,
       Op::kFold,
       {0},
       [](const Forward& f) -> Tensors { return {f.dy}; },
       [](const Forward& f) {
         OpDetails details = f.details();
         details.extents.resize(kConvExtents);
         details.extents.push_back(f.in_extent(0, 2));
         details.extents.push_back(f.in_extent(0, 3));
         return details;
       }},
      {Op::kMaxPool2d,
       Op::kMaxPool2dGrad,
       {0},
       [](const Forward& f) -> Tensors {
         return {f.in(0), f.out(0), f.dy};
       },
       Same},
      {Op::kAvgPool2d,
       Op::kAvgPool2dGrad,
       {0},
       [](const Forward& f) -> Tensors { return {f.dy}; },
       WithExtentsOf(0, 2)},
  };
}

class Drawing {
 public:
  explicit Drawing(uint64_t seed) : random_(seed) {}

  double Number() { return 2 * static_cast<double>(random_() >> 11) * 0x1p-53 - 1; }

  ReferenceTensor Tensor(const TensorType& type) {
    ReferenceTensor tensor = ReferenceTensor::Zeros(type);
    for (double& element : tensor.floats) element = Number();
    return tensor;
  }

  // Of a forward op in f64, with ids in range and now and then a key that the mask hides.
  Forward Make(Op op) {
    Forward f;
    f.spec = *RandomNodeSpec(op, Dtype::kF64, random_, {.max_extent = 4});
    // A larger eps than usual: differences of nearly constant rows stay well conditioned.
    if (Entry(op).numbers == "eps") f.spec.numbers = {0.125};
    for (const TensorType& type : f.spec.inputs) f.inputs.push_back(Tensor(type));
    const int64_t limit = op == Op::kCrossEntropy ? f.in_extent(0, 1)
                          : op == Op::kEmbedding
                              ? WindowOfTable(f.in_extent(0, 0), f.spec.extents).whole
                              : 0;
    for (int64_t& id : f.inputs[std::min<size_t>(1, f.inputs.size() - 1)].integers) {
      id = RandomInt(random_, 0, limit - 1);
      if (op == Op::kCrossEntropy && OneIn(random_, 4)) id = f.spec.attributes[0];
    }
    if (op == Op::kAttention && f.inputs.size() > 3) {
      for (double& element : f.inputs[3].floats) {
        if (OneIn(random_, 3)) element = -INFINITY;
      }
    }
    return f;
  }

 private:
  std::mt19937_64 random_;
};

// sum(dy * y) over the first output.
double Loss(const Forward& f, const Tensors& inputs) {
  const absl::StatusOr<Tensors> outputs = RunOp(f.spec.op, inputs, f.details());
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  double loss = 0;
  for (size_t i = 0; i < f.dy.floats.size(); ++i) loss += f.dy.floats[i] * (*outputs)[0].floats[i];
  return loss;
}

// The derivative of the loss by each element of one input.
std::vector<double> Differences(const Forward& f, size_t input) {
  constexpr double kStep = 1e-5;
  Tensors moved = f.inputs;
  std::vector<double> differences;
  for (double& element : moved[input].floats) {
    const double kept = element;
    element = kept + kStep;
    const double above = Loss(f, moved);
    element = kept - kStep;
    const double below = Loss(f, moved);
    element = kept;
    differences.push_back((above - below) / (2 * kStep));
  }
  return differences;
}

void CheckGradient(const Gradient& rule, Drawing& drawing, int64_t& compared) {
  Forward f = drawing.Make(rule.forward);
  absl::StatusOr<Tensors> outputs = RunOp(rule.forward, f.inputs, f.details());
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  f.outputs = *std::move(outputs);
  f.dy = drawing.Tensor(f.outputs[0].type);
  const absl::StatusOr<Tensors> gradients = RunOp(rule.gradient, rule.inputs(f), rule.details(f));
  ASSERT_TRUE(gradients.ok()) << gradients.status();
  ASSERT_EQ(gradients->size(), rule.of.size());
  for (size_t i = 0; i < rule.of.size(); ++i) {
    const std::vector<double>& gradient = (*gradients)[i].floats;
    const std::vector<double> expected = Differences(f, rule.of[i]);
    ASSERT_EQ(gradient.size(), expected.size());
    for (size_t k = 0; k < expected.size(); ++k) {
      ASSERT_NEAR(gradient[k], expected[k], 1e-7 * (1 + std::fabs(expected[k])))
          << "element " << k << " of the gradient of input " << rule.of[i];
      ++compared;
    }
  }
}

TEST(GradientTest, EqualsFiniteDifferences) {
  Drawing drawing(1);
  for (const Gradient& rule : Gradients()) {
    int64_t compared = 0;
    for (int draw = 0; draw < 16; ++draw) {
      SCOPED_TRACE(absl::StrCat(Name(rule.gradient), " draw ", draw));
      CheckGradient(rule, drawing, compared);
      if (HasFatalFailure()) return;
    }
    EXPECT_GE(compared, 40) << Name(rule.gradient);
  }
}

// A gradient op that is added to the table needs a line above.
TEST(GradientTest, CoversEveryGradientOp) {
  std::set<Op> covered;
  for (const Gradient& rule : Gradients()) covered.insert(rule.gradient);
  for (const OpEntry& entry : ClientOps()) {
    if (absl::StrContains(entry.name, "_grad")) {
      EXPECT_TRUE(covered.contains(entry.op)) << entry.name;
    }
  }
}

// The gradient of a maximum goes to one element, the first, whatever equals it.
TEST(GradientTest, MaxPoolGivesTiesToTheFirst) {
  const OpDetails window = {.extents = {1, 1, 1, 0, 1, 0, 1, 1, 2, 2}};
  const ReferenceTensor x = Floats({1, 1, 2, 2}, {-INFINITY, 3, 3, NAN});
  const absl::StatusOr<Tensors> y = RunOp(Op::kMaxPool2d, {x}, window);
  ASSERT_TRUE(y.ok()) << y.status();
  const ReferenceTensor dy = Floats({1, 1, 2, 2}, {1, 10, 100, 1000});
  const absl::StatusOr<Tensors> dx = RunOp(Op::kMaxPool2dGrad, {x, (*y)[0], dy}, window);
  ASSERT_TRUE(dx.ok()) << dx.status();
  // Windows: the -inf alone beside padding; -inf and 3; -inf and 3; all, where NaN is the maximum.
  EXPECT_EQ((*dx)[0].floats, (std::vector<double>{1, 10, 100, 1000}));
}

}  // namespace
}  // namespace moai
