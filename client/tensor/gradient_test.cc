// Every differentiable op of the op table: its gradient equals central finite differences in f64.
#include <cmath>
#include <random>

#include "client/autograd/gradient_rule.h"
#include "client/capture/recorder.h"
#include "client/tensor/ops.h"
#include "client/tensor/record_op.h"
#include "client/testing/reference_session.h"
#include "graph/testing/random_node.h"
#include "graph/testing/reference_bindings.h"
#include "graph/testing/reference_op.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

// Finite differences need a step that survives the rounding of operands and results.
struct Precision {
  double step;
  double tolerance;
};

Precision PrecisionOf(Dtype dtype) {
  if (ByteSize(dtype) == 2) return {.step = 0.25, .tolerance = 0.05};
  if (dtype == Dtype::kF32) return {.step = 0x1p-7, .tolerance = 2e-3};
  return {.step = 1e-5, .tolerance = 1e-6};
}

Precision Coarser(const Precision& a, const Precision& b) { return a.step > b.step ? a : b; }

// One random node of an op, and a scalar function of its inputs: the sum of the first output's
// elements with random weights. (Of ops with statistics, only the first output has a gradient.)
struct Problem {
  Op op;
  OpDetails details;
  std::vector<ReferenceTensor> inputs;
  ReferenceTensor weights;

  absl::StatusOr<double> Evaluate() const {
    auto outputs = RunOp(op, inputs, details);
    if (!outputs.ok()) return outputs.status();
    double sum = 0;
    for (size_t i = 0; i < weights.floats.size(); ++i) {
      sum += weights.floats[i] * (*outputs)[0].floats[i];
    }
    return sum;
  }
};

double Unit(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

// Away from ties and from zero, where ops have kinks; kept exact in the dtype.
void MoveOffKinks(ReferenceTensor& tensor, std::mt19937_64& random) {
  for (double& x : tensor.floats) {
    if (!std::isfinite(x)) continue;
    x = x * (1 + 0.05 * Unit(random)) + std::copysign(0.02 + 0.02 * Unit(random), x);
    x = RoundToDtype(x, tensor.type.dtype);
  }
}

absl::StatusOr<Problem> MakeProblem(Op op, std::mt19937_64& random) {
  auto captured = RandomNodeGraph(op, Dtype::kF64, random, {.allow_empty = false, .max_extent = 4});
  if (!captured.ok()) return captured.status();
  const std::vector<ReferenceTensor> bindings = RandomReferenceBindings(*captured, random);
  const Node& node = captured->graph.nodes[0];
  const absl::Span<const int64_t> extents = Extents(node, captured->sizes);
  Problem problem{.op = op,
                  .details = {.attributes = {node.attributes.begin(), node.attributes.end()},
                              .extents = {extents.begin(), extents.end()},
                              .numbers = {node.numbers.begin(), node.numbers.end()}}};
  for (ValueId input : node.inputs) {
    for (size_t i = 0; i < captured->graph.inputs.size(); ++i) {
      if (captured->graph.inputs[i].value == input) problem.inputs.push_back(bindings[i]);
    }
    MoveOffKinks(problem.inputs.back(), random);
  }
  problem.weights = ReferenceTensor::Zeros(captured->types[node.first_output]);
  for (double& weight : problem.weights.floats) {
    weight = RoundToDtype(Unit(random) - 0.5, problem.weights.type.dtype);
  }
  return problem;
}

Tensor AsTensor(const ReferenceTensor& content) {
  auto owner = std::make_shared<std::vector<std::byte>>(content.ToBytes());
  const absl::Span<const std::byte> bytes(*owner);
  return Tensor::FromBytes(content.type, {.bytes = bytes, .owner = owner});
}

// Inputs through which no gradient flows, though they are floating.
bool IsConstant(Op op, size_t input) {
  return (op == Op::kAttention && input == 3) || (op == Op::kRotary && input > 0);
}

absl::StatusOr<std::vector<double>> ReadGradient(const Tensor& leaf) {
  const Tensor gradient = leaf.Grad();
  if (!gradient.defined()) return std::vector<double>(leaf.elements(), 0.0);
  return gradient.To(Dtype::kF64).ToVector<double>();
}

// Compares all gradients of one problem; returns how many elements were compared.
int Check(Problem& problem) {
  std::vector<Tensor> leaves;
  std::vector<Operand> operands;
  leaves.reserve(problem.inputs.size());
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    leaves.push_back(AsTensor(problem.inputs[i]));
    if (IsFloat(leaves[i].dtype()) && !IsConstant(problem.op, i)) leaves[i].RequiresGrad();
    operands.push_back(leaves[i]);
  }
  std::vector<Tensor> outputs(Entry(problem.op).outputs);
  RecordOp({.op = problem.op,
            .inputs = operands,
            .attributes = problem.details.attributes,
            .extents = problem.details.extents,
            .numbers = problem.details.numbers},
           absl::MakeSpan(outputs));
  const Tensor weights = AsTensor(problem.weights);
  const absl::Status status = outputs[0].Backward({.gradient = &weights});
  EXPECT_TRUE(status.ok()) << status;
  if (!status.ok()) return 0;

  int compared = 0;
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    if (!leaves[i].requires_grad()) continue;
    const absl::StatusOr<std::vector<double>> gradient = ReadGradient(leaves[i]);
    EXPECT_TRUE(gradient.ok()) << gradient.status();
    if (!gradient.ok()) return compared;
    const Precision precision =
        Coarser(PrecisionOf(leaves[i].dtype()), PrecisionOf(outputs[0].dtype()));
    for (size_t e = 0; e < gradient->size(); ++e) {
      double& x = problem.inputs[i].floats[e];
      const double before = x;
      const double step = precision.step;
      x = before + step;
      const absl::StatusOr<double> above = problem.Evaluate();
      x = before - step;
      const absl::StatusOr<double> below = problem.Evaluate();
      x = before;
      EXPECT_TRUE(above.ok() && below.ok()) << above.status();
      if (!above.ok() || !below.ok()) return compared;
      const double expected = (*above - *below) / (2 * step);
      if (!std::isfinite(expected)) continue;
      const double tolerance = precision.tolerance * (1 + std::abs(expected));
      EXPECT_NEAR((*gradient)[e], expected, tolerance)
          << "input " << i << " " << ToString(leaves[i].type()) << ", element " << e;
      ++compared;
    }
  }
  return compared;
}

class GradientTest : public ::testing::TestWithParam<Op> {
 protected:
  GradientTest() { Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>())); }
  ~GradientTest() override { Recorder::SetCurrent(nullptr); }
};

TEST_P(GradientTest, EqualsFiniteDifferences) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  int compared = 0;
  for (int round = 0; round < 12 && !HasFailure(); ++round) {
    absl::StatusOr<Problem> problem = MakeProblem(GetParam(), random);
    ASSERT_TRUE(problem.ok()) << problem.status();
    // A cast may be drawn from or to integers, which have no gradient.
    if (GetParam() == Op::kCast &&
        (!IsFloat(problem->weights.type.dtype) || !IsFloat(problem->inputs[0].type.dtype))) {
      continue;
    }
    compared += Check(*problem);
  }
  EXPECT_GE(compared, 12);
}

std::vector<Op> DifferentiableOps() {
  std::vector<Op> ops;
  for (const OpEntry& entry : ClientOps()) {
    if (GradientRuleOf(entry.op).function != nullptr) ops.push_back(entry.op);
  }
  return ops;
}

INSTANTIATE_TEST_SUITE_P(Ops, GradientTest, ::testing::ValuesIn(DifferentiableOps()),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST(GradientRuleTest, EveryOpHasAnEntry) {
  for (const OpEntry& entry : ClientOps()) {
    EXPECT_TRUE(HasGradientEntry(entry.op))
        << Name(entry.op) << " is neither differentiable nor listed as not (gradient_rule.cc)";
  }
}

}  // namespace
}  // namespace moai
