#include "scheduler/partition/testing/linear_graph.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "graph/testing/random_node.h"

namespace moai {
namespace {

constexpr Op kLinear[] = {Op::kNeg,       Op::kReshape,    Op::kTranspose, Op::kBroadcast,
                          Op::kSlice,     Op::kFlip,       Op::kTril,      Op::kTriu,
                          Op::kReduceSum, Op::kReduceMean, Op::kCast,      Op::kAdd,
                          Op::kSub,       Op::kConcat,     Op::kMul,       Op::kDiv};
constexpr Dtype kDtypes[] = {Dtype::kF32, Dtype::kF64, Dtype::kBF16};

// Factors and divisors are numbers, and no terms.
bool IsFactor(Op op, size_t operand) { return (op == Op::kMul || op == Op::kDiv) && operand == 1; }

class Maker {
 public:
  explicit Maker(std::mt19937_64& random) : random_(random) {}

  CapturedGraph Make(Op op) {
    NodeSpec spec = *RandomNodeSpec(op, kDtypes[RandomInt(random_, 0, std::ssize(kDtypes) - 1)],
                                    random_, {.allow_empty = false, .max_extent = 4});
    if (op == Op::kMul || op == Op::kDiv) spec.inputs[1].shape = {};
    std::vector<ValueId> operands;
    for (size_t i = 0; i < spec.inputs.size(); ++i) {
      operands.push_back(IsFactor(op, i) || !IsFloat(spec.inputs[i].dtype)
                             ? builder_.AddInput(InputKind::kValue, inputs_++, spec.inputs[i])
                             : Sum(spec.inputs[i]));
    }
    const auto node = builder_.AddNode(op, operands, spec.attributes, spec.extents, spec.numbers);
    // Operands that do not broadcast any more are no node: the sums are a graph as well.
    if (node.ok()) builder_.AddOutput(OutputKind::kValue, *node);
    for (const ValueId operand : operands) {
      if (!node.ok() || OneIn(random_, 4)) builder_.AddOutput(OutputKind::kValue, operand);
    }
    return builder_.Finish();
  }

 private:
  ValueId Sum(const TensorType& type) {
    TensorType terms{type.dtype, {RandomInt(random_, 2, 4)}};
    for (const int64_t extent : type.shape) terms.shape.push_back(extent);
    const ValueId input = builder_.AddInput(InputKind::kValue, inputs_++, terms);
    const std::vector<int32_t> first_dim = {0};
    ValueId sum = *builder_.AddNode(Op::kReduceSum, {input}, first_dim);
    if (OneIn(random_, 3)) sum = *builder_.AddNode(Op::kNeg, {sum});
    return sum;
  }

  std::mt19937_64& random_;
  GraphBuilder builder_;
  uint32_t inputs_ = 0;
};

}  // namespace

bool IsLinear(Op op) {
  return std::find(std::begin(kLinear), std::end(kLinear), op) != std::end(kLinear);
}

CapturedGraph RandomLinearGraph(std::mt19937_64& random, Op op) {
  if (op == Op::kInvalid) op = kLinear[RandomInt(random, 0, std::ssize(kLinear) - 1)];
  return Maker(random).Make(op);
}

}  // namespace moai
