#include <vector>

#include "client/autograd/gradients.h"

namespace moai::gradients {
namespace {

Tensor RecordSlice(const Tensor& x, absl::Span<const int64_t> extents) {
  return RecordOp1(Op::kSlice, {x}, {}, {}, extents);
}

// The dim that `dims` elements of extent `n` reach over with a step, from `start`.
int64_t Limit(int64_t start, int64_t step, int64_t n) {
  return n == 0 ? start : start + (n - 1) * step + 1;
}

}  // namespace

void Reshape(GradientCall& call) { call.Set(0, call.dy().Reshape(call.input_type(0).shape)); }

void Transpose(GradientCall& call) {
  absl::InlinedVector<int, 8> inverse(call.attributes().size());
  for (size_t d = 0; d < inverse.size(); ++d) inverse[call.attributes()[d]] = static_cast<int>(d);
  call.Set(0, call.dy().Permute(inverse));
}

void Broadcast(GradientCall& call) {
  const Shape& before = call.input_type(0).shape;
  const absl::Span<const int32_t> mapped = call.attributes().subspan(1);
  absl::InlinedVector<int32_t, 8> repeated;
  int input_dim = 0;
  for (int d = 0; d < call.dy().rank(); ++d) {
    const bool from_input = input_dim < before.rank() && mapped[input_dim] == d;
    if (!from_input || before[input_dim] != call.dy().shape()[d]) repeated.push_back(d);
    input_dim += from_input;
  }
  call.Set(0, RecordOp1(Op::kReduceSum, {call.dy()}, {}, repeated).Reshape(before));
}

void Slice(GradientCall& call) {
  const Shape& before = call.input_type(0).shape;
  absl::InlinedVector<int64_t, 8> low, high, start, step;
  bool dense = true;
  for (int d = 0; d < before.rank(); ++d) {
    const absl::Span<const int64_t> range = call.extents().subspan(3 * d, 3);
    start.push_back(range[0]);
    step.push_back(range[2]);
    low.push_back(range[0]);
    high.push_back(before[d] - range[1]);
    dense &= range[2] == 1;
  }
  call.Set(0, dense ? moai::Pad(call.dy(), low, high, 0)
                    : moai::SliceUpdate(Zeros(before, call.dy().dtype()), call.dy(), start, step));
}

void Flip(GradientCall& call) { call.Set(0, moai::Flip(call.dy(), call.attributes())); }

void SliceUpdate(GradientCall& call) {
  const Shape& update = call.input_type(1).shape;
  absl::InlinedVector<int64_t, 12> range;
  absl::InlinedVector<int64_t, 8> start, step;
  for (int d = 0; d < update.rank(); ++d) {
    start.push_back(call.extents()[2 * d]);
    step.push_back(call.extents()[2 * d + 1]);
    range.insert(range.end(), {start[d], Limit(start[d], step[d], update[d]), step[d]});
  }
  if (call.Needs(0)) {
    call.Set(0, moai::SliceUpdate(call.dy(), Zeros(update, call.dy().dtype()), start, step));
  }
  if (call.Needs(1)) call.Set(1, RecordSlice(call.dy(), range));
}

void Pad(GradientCall& call) {
  const Shape& before = call.input_type(0).shape;
  absl::InlinedVector<int64_t, 12> range;
  for (int d = 0; d < before.rank(); ++d) {
    const int64_t low = call.extents()[2 * d];
    range.insert(range.end(), {low, low + before[d], 1});
  }
  const Tensor inside = RecordSlice(call.dy(), range);
  call.Set(0, inside);
  if (call.Needs(1)) call.Set(1, Sum(call.dy()) - Sum(inside));
}

void Concat(GradientCall& call) {
  const int axis = call.attributes()[0];
  int64_t start = 0;
  for (int i = 0; i < call.inputs(); ++i) {
    const int64_t length = call.input_type(i).shape[axis];
    if (call.Needs(i)) call.Set(i, call.dy().Narrow(axis, start, length));
    start += length;
  }
}

void Fill(GradientCall& call) { call.Set(0, call.dy()); }
void Tril(GradientCall& call) { call.Set(0, moai::Tril(call.dy(), call.extents()[0])); }
void Triu(GradientCall& call) { call.Set(0, moai::Triu(call.dy(), call.extents()[0])); }

}  // namespace moai::gradients
