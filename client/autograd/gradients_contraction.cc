#include "client/autograd/gradients.h"

namespace moai::gradients {
namespace {

Tensor RecordMatmul(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b) {
  const int32_t attributes[] = {transpose_a, transpose_b};
  return RecordOp1(Op::kMatmul, {a, b}, {}, attributes);
}

// The node's first `count` extents, then two more.
absl::InlinedVector<int64_t, 13> Extents(const GradientCall& call, size_t count, int64_t p,
                                         int64_t q) {
  const absl::Span<const int64_t> first = call.extents().subspan(0, count);
  absl::InlinedVector<int64_t, 13> extents(first.begin(), first.end());
  extents.push_back(p);
  extents.push_back(q);
  return extents;
}

constexpr size_t kConvExtents = 9;

}  // namespace

// With A and B as the op sees them (after the transposes): dA = dy B^T, dB = A^T dy.
void Matmul(GradientCall& call) {
  const bool ta = call.attributes()[0] != 0;
  const bool tb = call.attributes()[1] != 0;
  const Tensor& dy = call.dy();
  if (call.Needs(0)) {
    const Tensor b = call.Input(1);
    call.Set(0, ta ? RecordMatmul(b, tb, dy, true) : RecordMatmul(dy, false, b, !tb));
  }
  if (call.Needs(1)) {
    const Tensor a = call.Input(0);
    call.Set(1, tb ? RecordMatmul(dy, true, a, ta) : RecordMatmul(a, !ta, dy, false));
  }
}

void Conv2d(GradientCall& call) {
  const Shape& x = call.input_type(0).shape;
  const Shape& weight = call.input_type(1).shape;
  if (call.Needs(0)) {
    call.Set(0, RecordOp1(Op::kConv2dGradInput, {call.dy(), call.Input(1)}, {}, {},
                          Extents(call, kConvExtents, x[2], x[3])));
  }
  if (call.Needs(1)) {
    call.Set(1, RecordOp1(Op::kConv2dGradWeight, {call.dy(), call.Input(0)}, {}, {},
                          Extents(call, kConvExtents, weight[2], weight[3])));
  }
}

void Unfold(GradientCall& call) {
  const TensorType& x = call.input_type(0);
  if (call.Needs(0)) {
    call.Set(0, RecordOp1(Op::kFold, {call.dy()}, {}, {},
                          Extents(call, kConvExtents, x.shape[2], x.shape[3])));
  }
  if (call.Needs(1)) {
    // 1 where a window reaches into the padding.
    const Tensor padding = RecordOp1(Op::kUnfold, {Zeros(x.shape, x.dtype), Operand(x.dtype, 1)},
                                     {}, {}, call.extents());
    call.Set(1, call.dy() * padding);
  }
}

void Fold(GradientCall& call) {
  const Shape& windows = call.input_type(0).shape;
  call.Set(0, RecordOp1(Op::kUnfold, {call.dy(), Operand(call.dy().dtype(), 0)}, {}, {},
                        Extents(call, kConvExtents, windows[2], windows[3])));
}

void MaxPool2d(GradientCall& call) {
  call.Set(0, RecordOp1(Op::kMaxPool2dGrad, {call.Input(0), call.Output(0), call.dy()}, {}, {},
                        call.extents()));
}

void AvgPool2d(GradientCall& call) {
  const Shape& x = call.input_type(0).shape;
  call.Set(0, RecordOp1(Op::kAvgPool2dGrad, {call.dy()}, {}, {},
                        Extents(call, call.extents().size(), x[2], x[3])));
}

}  // namespace moai::gradients
