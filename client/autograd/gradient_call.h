// What the gradient function of an op sees and fills in.
#ifndef MOAI_CLIENT_AUTOGRAD_GRADIENT_CALL_H_
#define MOAI_CLIENT_AUTOGRAD_GRADIENT_CALL_H_

#include <bit>
#include <utility>

#include "absl/types/span.h"
#include "client/autograd/grad_node.h"
#include "client/autograd/gradient_rule.h"
#include "client/tensor/ops.h"
#include "client/tensor/record_op.h"

namespace moai {

// Gradient functions run without a tape. They may give a rank 0 input a gradient of the output's
// shape: the engine sums it up.
class GradientCall {
 public:
  // `dy`: of each output, undefined where none came. `dx`: of each input, undefined at first.
  GradientCall(const GradNode& node, absl::Span<const Tensor> dy, absl::Span<Tensor> dx)
      : node_(node), rule_(GradientRuleOf(node.op)), dy_(dy), dx_(dx) {}

  const Tensor& dy(int output = 0) const { return dy_[output]; }
  int inputs() const { return static_cast<int>(node_.inputs.size()); }
  bool Needs(int input) const { return static_cast<bool>(node_.inputs[input].node); }
  // Whether the gradient of the input goes nowhere but into a tensor's Grad.
  bool IsLeaf(int input) const {
    return Needs(input) && node_.inputs[input].node->op == Op::kInvalid;
  }
  void Set(int input, Tensor gradient) {
    if (Needs(input)) dx_[input] = std::move(gradient);
  }

  // What the rule says is saved.
  Tensor Input(int input) const { return Saved(CountBelow(rule_.saved_inputs, input)); }
  Tensor Output(int output) const {
    return Saved(CountBelow(rule_.saved_inputs, inputs()) +
                 CountBelow(rule_.saved_outputs, output));
  }
  absl::Span<const int32_t> attributes() const { return node_.attributes; }
  absl::Span<const double> numbers() const { return node_.numbers; }
  // Where the rule says so.
  absl::Span<const int64_t> extents() const { return node_.extents; }
  const TensorType& input_type(int input) const { return node_.input_types[input]; }

 private:
  static int CountBelow(uint32_t bits, int limit) {
    return std::popcount(bits & ((uint32_t{1} << limit) - 1));
  }
  Tensor Saved(int position) const {
    return Tensor(NewTensorImpl({.value = node_.saved[position]}));
  }

  const GradNode& node_;
  const GradientRule& rule_;
  absl::Span<const Tensor> dy_;
  absl::Span<Tensor> dx_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_AUTOGRAD_GRADIENT_CALL_H_
