#include <numbers>

#include "client/autograd/gradients.h"

namespace moai::gradients {
namespace {

// `x` where the condition holds, else 0.
Tensor Masked(const Tensor& condition, const Tensor& x) {
  return RecordOp1(Op::kSelect, {condition, x, Operand(x.dtype(), 0)});
}
Tensor MaskedOut(const Tensor& condition, const Tensor& x) {
  return RecordOp1(Op::kSelect, {condition, Operand(x.dtype(), 0), x});
}

// Ties share the gradient.
void Extreme(GradientCall& call, Op wins) {
  const Tensor a = call.Input(0);
  const Tensor b = call.Input(1);
  const Tensor half = Masked(moai::Eq(a, b, {}), call.dy() * 0.5);
  if (call.Needs(0)) call.Set(0, half + Masked(RecordOp1(wins, {a, b}), call.dy()));
  if (call.Needs(1)) call.Set(1, half + Masked(RecordOp1(wins, {b, a}), call.dy()));
}

}  // namespace

void Neg(GradientCall& call) { call.Set(0, -call.dy()); }
void Abs(GradientCall& call) { call.Set(0, call.dy() * moai::Sign(call.Input(0))); }
void Exp(GradientCall& call) { call.Set(0, call.dy() * call.Output(0)); }
void Expm1(GradientCall& call) { call.Set(0, call.dy() * (call.Output(0) + 1.0)); }
void Log(GradientCall& call) { call.Set(0, call.dy() / call.Input(0)); }
void Log1p(GradientCall& call) { call.Set(0, call.dy() / (call.Input(0) + 1.0)); }
void Sqrt(GradientCall& call) { call.Set(0, call.dy() * 0.5 / call.Output(0)); }
void Rsqrt(GradientCall& call) {
  const Tensor y = call.Output(0);
  call.Set(0, call.dy() * -0.5 * (y * y * y));
}
void Reciprocal(GradientCall& call) {
  const Tensor y = call.Output(0);
  call.Set(0, -(call.dy() * y * y));
}
void Sin(GradientCall& call) { call.Set(0, call.dy() * moai::Cos(call.Input(0))); }
void Cos(GradientCall& call) { call.Set(0, -(call.dy() * moai::Sin(call.Input(0)))); }
void Tanh(GradientCall& call) {
  const Tensor y = call.Output(0);
  call.Set(0, call.dy() * (1.0 - y * y));
}
void Erf(GradientCall& call) {
  const Tensor x = call.Input(0);
  call.Set(0, call.dy() * (2 * std::numbers::inv_sqrtpi) * moai::Exp(-(x * x)));
}
void Sigmoid(GradientCall& call) {
  const Tensor y = call.Output(0);
  call.Set(0, call.dy() * (y * (1.0 - y)));
}
void Relu(GradientCall& call) { call.Set(0, Masked(call.Output(0) > 0.0, call.dy())); }
void Silu(GradientCall& call) {
  const Tensor x = call.Input(0);
  const Tensor sigmoid = moai::Sigmoid(x);
  call.Set(0, call.dy() * (sigmoid * (x * (1.0 - sigmoid) + 1.0)));
}
void Gelu(GradientCall& call) {
  const Tensor x = call.Input(0);
  const Tensor distribution = (moai::Erf(x * (1 / std::numbers::sqrt2)) + 1.0) * 0.5;
  const double inv_sqrt_2pi = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  const Tensor density = moai::Exp(x * x * -0.5) * inv_sqrt_2pi;
  call.Set(0, call.dy() * (distribution + x * density));
}
void Cast(GradientCall& call) {
  // A master weight's gradient stays in the dtype of the computation; optimizers take any.
  call.Set(0, call.IsLeaf(0) ? call.dy() : call.dy().To(call.input_type(0).dtype));
}

void Add(GradientCall& call) {
  call.Set(0, call.dy());
  call.Set(1, call.dy());
}
void Sub(GradientCall& call) {
  call.Set(0, call.dy());
  if (call.Needs(1)) call.Set(1, -call.dy());
}
void Mul(GradientCall& call) {
  if (call.Needs(0)) call.Set(0, call.dy() * call.Input(1));
  if (call.Needs(1)) call.Set(1, call.dy() * call.Input(0));
}
void Div(GradientCall& call) {
  const Tensor quotient = call.dy() / call.Input(1);
  call.Set(0, quotient);
  if (call.Needs(1)) call.Set(1, -(quotient * call.Output(0)));
}
void Mod(GradientCall& call) {
  call.Set(0, call.dy());
  if (call.Needs(1)) call.Set(1, -(call.dy() * moai::Floor(call.Input(0) / call.Input(1))));
}
void Pow(GradientCall& call) {
  const Tensor a = call.Input(0);
  const Tensor b = call.Input(1);
  if (call.Needs(0)) {
    // x^0 is flat, at 0 too.
    const Tensor slope = b * moai::Pow(a, b - 1.0, {});
    call.Set(0, call.dy() * MaskedOut(moai::Eq(b, 0), slope));
  }
  if (call.Needs(1)) {
    const Tensor y = call.Output(0);
    call.Set(1, call.dy() * MaskedOut(moai::Eq(y, 0), y * moai::Log(a)));
  }
}
void Maximum(GradientCall& call) { Extreme(call, Op::kGt); }
void Minimum(GradientCall& call) { Extreme(call, Op::kLt); }
void Select(GradientCall& call) {
  const Tensor condition = call.Input(0);
  if (call.Needs(1)) call.Set(1, Masked(condition, call.dy()));
  if (call.Needs(2)) call.Set(2, MaskedOut(condition, call.dy()));
}
void Clamp(GradientCall& call) {
  const Tensor x = call.Input(0);
  const Tensor low = call.Input(1);
  const Tensor high = call.Input(2);
  if (call.Needs(0)) {
    const Tensor inside = moai::And(moai::Ge(x, low, {}), moai::Le(x, high, {}), {});
    call.Set(0, Masked(inside, call.dy()));
  }
  if (call.Needs(1)) call.Set(1, Masked(moai::Lt(x, low, {}), call.dy()));
  if (call.Needs(2)) call.Set(2, Masked(moai::Gt(x, high, {}), call.dy()));
}

}  // namespace moai::gradients
