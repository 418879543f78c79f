// Embedding and its gradient: rows of a table, by ids of any shape.
#include "graph/decompose_internal.h"
#include "graph/parts.h"

namespace moai::decomposition {
namespace {

Term Flat(Term ids) { return Reshape(ids, {ids.shape().elements()}); }

// The whole table, where `table` is a window of it; the other rows are 0.
Term WholeTable(Formula& f, Term table, const TableWindow& window) {
  return f.Apply(Op::kPad, {table, f.Constant(0, table.dtype())}, {},
                 {window.first, window.whole - window.first - window.rows, 0, 0});
}

}  // namespace

void Embedding(Formula& f) {
  Term table = f.input(0);
  const Term ids = f.input(1);
  if (!f.extents().empty()) {
    table = WholeTable(f, table, WindowOfTable(table.shape()[0], f.extents()));
  }
  Shape shape = ids.shape();
  shape.push_back(table.shape()[1]);
  f.Output(Reshape(f.Apply(Op::kIndexSelect, {table, Flat(ids)}, {/*axis=*/0}), shape));
}

void EmbeddingGrad(Formula& f) {
  const Term ids = f.input(0), dy = Widen(f.input(1));
  const int64_t rows = ids.shape().elements(), size = dy.shape().back();
  const TableWindow window = WindowOfTable(f.extent(0), f.extents().subspan(1));
  const Term zeros = Broadcast(f.Constant(0, dy.dtype()), {window.whole, size}, {});
  Term sum = f.Apply(Op::kIndexAdd, {zeros, Flat(ids), Reshape(dy, {rows, size})}, {/*axis=*/0});
  if (window.rows != window.whole) {
    sum = SliceAxis(sum, /*axis=*/0, window.first, window.first + window.rows);
  }
  f.Output(Cast(sum, static_cast<Dtype>(f.attribute(0))));
}

}  // namespace moai::decomposition
