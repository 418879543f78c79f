// Softmax and cross entropy.
#include "graph/decompose_internal.h"

namespace moai::decomposition {
namespace {

// Along the last dim.
struct LastDim {
  explicit LastDim(Term x) : shape(x.shape()), axis(shape.rank() - 1) {}

  Term Reduce(Op op, Term x) const { return decomposition::Reduce(op, x, {axis}); }
  Term Unreduce(Term x) const { return decomposition::Unreduce(x, shape, {axis}); }

  Shape shape;
  int32_t axis;
};

// log(sum(e^x)) along the last dim, without overflow.
Term LogSumExp(Term x) {
  const LastDim rows(x);
  const Term maximum = rows.Reduce(Op::kReduceMax, x);
  const Term e = Apply(Op::kExp, x - rows.Unreduce(maximum));
  return Apply(Op::kLog, rows.Reduce(Op::kReduceSum, e)) + maximum;
}

}  // namespace

void Softmax(Formula& f) {
  const Term x = Widen(f.input(0));
  const LastDim rows(x);
  const Term e = Apply(Op::kExp, x - rows.Unreduce(rows.Reduce(Op::kReduceMax, x)));
  f.Output(Cast(e / rows.Unreduce(rows.Reduce(Op::kReduceSum, e)), f.input(0).dtype()));
}

void SoftmaxGrad(Formula& f) {
  const Term y = Widen(f.input(0)), dy = Widen(f.input(1));
  const LastDim rows(y);
  const Term dot = rows.Unreduce(rows.Reduce(Op::kReduceSum, y * dy));
  f.Output(Cast(y * (dy - dot), f.input(0).dtype()));
}

void LogSoftmax(Formula& f) {
  const Term x = Widen(f.input(0));
  const LastDim rows(x);
  const Term shifted = x - rows.Unreduce(rows.Reduce(Op::kReduceMax, x));
  const Term sum = rows.Reduce(Op::kReduceSum, Apply(Op::kExp, shifted));
  f.Output(Cast(shifted - rows.Unreduce(Apply(Op::kLog, sum)), f.input(0).dtype()));
}

void LogSoftmaxGrad(Formula& f) {
  const Term y = Widen(f.input(0)), dy = Widen(f.input(1));
  const LastDim rows(y);
  const Term sum = rows.Unreduce(rows.Reduce(Op::kReduceSum, dy));
  f.Output(Cast(dy - Apply(Op::kExp, y) * sum, f.input(0).dtype()));
}

namespace {

struct Labels {
  Term ignored;  // [n], bool
  Term kept;     // [n]; 0 in place of ignored ones
};

Labels LabelsOf(Formula& f) {
  const Term labels = f.input(1);
  const Term ignored = Compare(Op::kEq, labels, f.attribute(0));
  return {ignored, Select(ignored, 0, labels)};
}

}  // namespace

void CrossEntropy(Formula& f) {
  const Term logits = Widen(f.input(0));
  const Labels labels = LabelsOf(f);
  const int64_t rows = logits.shape()[0];
  const Term lse = LogSumExp(logits);
  const Term chosen = Reshape(
      f.Apply(Op::kGather, {logits, Reshape(labels.kept, {rows, 1})}, {/*axis=*/1}), {rows});
  f.Output(Select(labels.ignored, 0, lse - chosen));
  f.Output(lse);
}

void CrossEntropyGrad(Formula& f) {
  const Term logits = Widen(f.input(0)), lse = f.input(2), dloss = f.input(3);
  const Labels labels = LabelsOf(f);
  const Shape shape = logits.shape();
  const Term softmax = Apply(Op::kExp, logits - Unreduce(lse, shape, {1}));
  const Term ones = Broadcast(f.Constant(1, logits.dtype()), {shape[0], 1}, {});
  const Term zeros = Broadcast(f.Constant(0, logits.dtype()), shape, {});
  const Term one_hot =
      f.Apply(Op::kScatter, {zeros, Reshape(labels.kept, {shape[0], 1}), ones}, {/*axis=*/1});
  const Term gradient = (softmax - one_hot) * Unreduce(dloss, shape, {1});
  const Term ignored = Unreduce(labels.ignored, shape, {1});
  f.Output(Cast(Select(ignored, 0, gradient), f.input(0).dtype()));
}

}  // namespace moai::decomposition
