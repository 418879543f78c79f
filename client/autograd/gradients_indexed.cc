#include "client/autograd/gradients.h"

namespace moai::gradients {
namespace {

Tensor ZerosOf(const TensorType& type) { return Zeros(type.shape, type.dtype); }

}  // namespace

void Embedding(GradientCall& call) {
  const TensorType& table = call.input_type(0);
  const int32_t attributes[] = {static_cast<int32_t>(table.dtype)};
  absl::InlinedVector<int64_t, 3> extents = {table.shape[0]};
  extents.insert(extents.end(), call.extents().begin(), call.extents().end());
  call.Set(0, RecordOp1(Op::kEmbeddingGrad, {call.Input(1), call.dy()}, {}, attributes, extents));
}

void IndexSelect(GradientCall& call) {
  call.Set(0, moai::IndexAdd(ZerosOf(call.input_type(0)), call.attributes()[0], call.Input(1),
                             call.dy()));
}

void IndexAdd(GradientCall& call) {
  call.Set(0, call.dy());
  if (call.Needs(2)) {
    call.Set(2, moai::IndexSelect(call.dy(), call.attributes()[0], call.Input(1)));
  }
}

void Gather(GradientCall& call) {
  call.Set(0, moai::ScatterAdd(ZerosOf(call.input_type(0)), call.attributes()[0], call.Input(1),
                               call.dy()));
}

// Of updates to the same element only the last one counts: each writes its own number, and those
// that read another's back have lost.
void Scatter(GradientCall& call) {
  const int axis = call.attributes()[0];
  const Tensor ids = call.Input(1);
  const TensorType& updates = call.input_type(2);
  if (call.Needs(0)) call.Set(0, moai::Scatter(call.dy(), axis, ids, ZerosOf(updates)));
  if (call.Needs(2)) {
    const Tensor number = Arange(updates.shape.elements()).Reshape(updates.shape);
    const Tensor written = moai::Scatter(Zeros(call.dy().shape(), Dtype::kI64), axis, ids, number);
    const Tensor wins = moai::Eq(moai::Gather(written, axis, ids), number, {});
    const Tensor read = moai::Gather(call.dy(), axis, ids);
    call.Set(2, RecordOp1(Op::kSelect, {wins, read, Operand(read.dtype(), 0)}));
  }
}

void ScatterAdd(GradientCall& call) {
  call.Set(0, call.dy());
  if (call.Needs(2)) call.Set(2, moai::Gather(call.dy(), call.attributes()[0], call.Input(1)));
}

}  // namespace moai::gradients
