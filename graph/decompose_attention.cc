// Attention and its gradient. Heads are moved before the sequence, and the query heads that share
// a key head are joined with the queries, so that every product is a batched matmul.
#include <limits>

#include "graph/decompose_internal.h"

namespace moai::decomposition {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class AttentionFormula {
 public:
  // `mask` is the position of the optional mask among the inputs.
  AttentionFormula(Formula& f, size_t mask)
      : f_(f), q_(f.input(0).shape()), v_(f.input(2).shape()), mask_(mask) {}

  int64_t batch() const { return q_[0]; }
  int64_t queries() const { return q_[1]; }
  int64_t heads() const { return q_[2]; }
  int64_t keys() const { return v_[1]; }
  int64_t groups() const { return v_[2]; }  // key heads
  // Rows of scores and statistics, and how the matmuls see them.
  Shape ScoreShape() const { return {batch(), heads(), queries(), keys()}; }

  // [b s h x] -> [b g (h/g s) x]
  Term Queries(Term x) const {
    const int64_t size = x.shape().back();
    return Grouped(Transpose(Widen(x), {0, 2, 1, 3}), size);
  }
  // [b t g x] -> [b g t x]
  Term Keys(Term x) const { return Transpose(Widen(x), {0, 2, 1, 3}); }
  // [b h s x] -> [b g (h/g s) x]
  Term Grouped(Term x, int64_t size) const {
    const int64_t sharing = groups() == 0 ? 0 : heads() / groups();
    return Reshape(x, {batch(), groups(), sharing * queries(), size});
  }
  // [b g (h/g s) x] -> [b s h x] in dtype
  Term FromQueries(Term x, Dtype dtype) const {
    const int64_t size = x.shape().back();
    const Term by_head = Reshape(x, {batch(), heads(), queries(), size});
    return Cast(Transpose(by_head, {0, 2, 1, 3}), dtype);
  }
  // [b g t x] -> [b t g x] in dtype
  static Term FromKeys(Term x, Dtype dtype) { return Cast(Transpose(x, {0, 2, 1, 3}), dtype); }

  // Scaled and masked, [b h s t].
  Term Scores() const {
    const Term q = Queries(f_.input(0)), k = Keys(f_.input(1));
    Term scores = Reshape(Matmul(q, k, /*transpose_a=*/false, /*transpose_b=*/true), ScoreShape());
    scores = scores * f_.number(0);
    if (f_.input_count() > mask_) {
      const Term mask = Cast(f_.input(mask_), scores.dtype());
      scores = scores + Broadcast(mask, ScoreShape(), {0, 1, 2, 3});
    }
    return f_.attribute(0) != 0 ? Causal(scores) : scores;
  }

  // A row statistic [b h s], repeated for each key.
  Term Repeat(Term statistic) const { return Unreduce(statistic, ScoreShape(), {3}); }

 private:
  // -inf where the key comes after the query; the last query sees the last key.
  Term Causal(Term scores) const {
    const Term query = f_.Iota(Dtype::kI64, ScoreShape(), 2);
    const Term key = f_.Iota(Dtype::kI64, ScoreShape(), 3);
    const Term hidden = Compare(Op::kGt, key, query + static_cast<double>(keys() - queries()));
    return Select(hidden, -kInfinity, scores);
  }

  Formula& f_;
  const Shape q_;
  const Shape v_;
  const size_t mask_;
};

}  // namespace

void Attention(Formula& f) {
  const AttentionFormula at(f, 3);
  const Term scores = at.Scores();
  const Term maximum = Reduce(Op::kReduceMax, scores, {3});
  // A row that sees no key has the maximum -inf; its exponentials are to be 0, not NaN.
  const Term shift = Select(Compare(Op::kEq, maximum, -kInfinity), 0, maximum);
  const Term e = Apply(Op::kExp, scores - at.Repeat(shift));
  const Term sum = Reduce(Op::kReduceSum, e, {3});
  const Term p = e / at.Repeat(Select(Compare(Op::kEq, sum, 0), 1, sum));
  const Term o = Matmul(at.Grouped(p, at.keys()), at.Keys(f.input(2)));
  f.Output(at.FromQueries(o, f.input(0).dtype()));
  f.Output(Apply(Op::kLog, sum) + shift);
}

void AttentionGrad(Formula& f) {
  const AttentionFormula at(f, 6);
  const Dtype dtype = f.input(0).dtype();
  const Term k = at.Keys(f.input(1)), v = at.Keys(f.input(2));
  const Term lse = f.input(4), q = at.Queries(f.input(0)), d_o = at.Queries(f.input(5));
  // A row that sees no key has the lse -inf.
  const Term unseen = Compare(Op::kEq, at.Repeat(lse), -kInfinity);
  const Term p = Select(unseen, 0, Apply(Op::kExp, at.Scores() - at.Repeat(lse)));
  const Term d_p = Reshape(Matmul(d_o, v, false, /*transpose_b=*/true), at.ScoreShape());
  // The gradient through the sum of a row: the dot product of o and do.
  const Term dot = Reduce(Op::kReduceSum, Widen(f.input(3)) * Widen(f.input(5)), {3});
  const Term d_scores = p * (d_p - at.Repeat(Transpose(dot, {0, 2, 1}))) * f.number(0);
  const Term grouped = at.Grouped(d_scores, at.keys());
  f.Output(at.FromQueries(Matmul(grouped, k), dtype));
  f.Output(at.FromKeys(Matmul(grouped, q, /*transpose_a=*/true), dtype));
  f.Output(at.FromKeys(Matmul(at.Grouped(p, at.keys()), d_o, /*transpose_a=*/true), dtype));
}

}  // namespace moai::decomposition
