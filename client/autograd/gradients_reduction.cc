#include <algorithm>

#include "client/autograd/gradients.h"

namespace moai::gradients {
namespace {

// The result of a reduction, repeated over the dims that were reduced.
Tensor Spread(const Tensor& reduced, absl::Span<const int32_t> axes, const Shape& shape) {
  absl::InlinedVector<int32_t, 9> attributes = {shape.rank()};
  for (int d = 0; d < shape.rank(); ++d) {
    if (std::find(axes.begin(), axes.end(), d) == axes.end()) attributes.push_back(d);
  }
  return RecordOp1(Op::kBroadcast, {reduced}, {}, attributes, shape.span());
}

int64_t Count(absl::Span<const int32_t> axes, const Shape& shape) {
  int64_t count = 1;
  for (int32_t axis : axes) count *= shape[axis];
  return count;
}

}  // namespace

void ReduceSum(GradientCall& call) {
  call.Set(0, Spread(call.dy(), call.attributes(), call.input_type(0).shape));
}

void ReduceMean(GradientCall& call) {
  const Shape& shape = call.input_type(0).shape;
  const double count = static_cast<double>(Count(call.attributes(), shape));
  call.Set(0, Spread(call.dy() * (1 / count), call.attributes(), shape));
}

// Equal extremes share the gradient.
void ReduceExtreme(GradientCall& call) {
  const Tensor x = call.Input(0);
  const absl::Span<const int32_t> axes = call.attributes();
  const Tensor is_extreme = moai::Eq(x, Spread(call.Output(0), axes, x.shape()), {}).To(x.dtype());
  const Tensor count = RecordOp1(Op::kReduceSum, {is_extreme}, {}, axes);
  call.Set(0, is_extreme * Spread(call.dy() / count, axes, x.shape()));
}

// The product of the others, without dividing by zero: with one zero it is the only one that has a
// gradient, with more none has.
void ReduceProd(GradientCall& call) {
  const Tensor x = call.Input(0);
  const absl::Span<const int32_t> axes = call.attributes();
  const Tensor is_zero = moai::Eq(x, 0);
  const Tensor safe = RecordOp1(Op::kSelect, {is_zero, Operand(x.dtype(), 1), x});
  const Tensor product = RecordOp1(Op::kReduceProd, {safe}, {}, axes);
  const Tensor zeros = RecordOp1(Op::kReduceSum, {is_zero.To(x.dtype())}, {}, axes);
  const Tensor without = Spread(moai::Eq(zeros, 0).To(x.dtype()) * product, axes, x.shape());
  const Tensor with_one = Spread(moai::Eq(zeros, 1).To(x.dtype()) * product, axes, x.shape());
  call.Set(0, Spread(call.dy(), axes, x.shape()) * Where(is_zero, with_one, without / safe, {}));
}

void Cumsum(GradientCall& call) {
  const int axis[] = {call.attributes()[0]};
  call.Set(0, moai::Flip(moai::Cumsum(moai::Flip(call.dy(), axis), axis[0]), axis));
}

// Sort and top_k: each element goes back to where it came from.
void Sort(GradientCall& call) {
  if (!call.dy().defined()) return;
  const TensorType& type = call.input_type(0);
  call.Set(0, moai::Scatter(Zeros(type.shape, type.dtype), call.attributes()[0], call.Output(1),
                            call.dy()));
}

}  // namespace moai::gradients
