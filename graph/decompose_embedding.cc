// Embedding and its gradient: rows of a table, by ids of any shape.
#include "graph/decompose_internal.h"

namespace moai::decomposition {
namespace {

Term Flat(Term ids) { return Reshape(ids, {ids.shape().elements()}); }

}  // namespace

void Embedding(Formula& f) {
  const Term table = f.input(0), ids = f.input(1);
  Shape shape = ids.shape();
  shape.push_back(table.shape()[1]);
  f.Output(Reshape(f.Apply(Op::kIndexSelect, {table, Flat(ids)}, {/*axis=*/0}), shape));
}

void EmbeddingGrad(Formula& f) {
  const Term ids = f.input(0), dy = Widen(f.input(1));
  const int64_t rows = ids.shape().elements(), size = dy.shape().back();
  const Term zeros = Broadcast(f.Constant(0, dy.dtype()), {f.extent(0), size}, {});
  const Term sum =
      f.Apply(Op::kIndexAdd, {zeros, Flat(ids), Reshape(dy, {rows, size})}, {/*axis=*/0});
  f.Output(Cast(sum, static_cast<Dtype>(f.attribute(0))));
}

}  // namespace moai::decomposition
