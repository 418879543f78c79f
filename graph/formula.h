// Writes decompositions as formulas: values of a graph under construction with arithmetic on them.
// Shared by the decompose*.cc files; not for others.
#ifndef MOAI_GRAPH_FORMULA_H_
#define MOAI_GRAPH_FORMULA_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "absl/types/span.h"
#include "graph/decompose.h"

namespace moai::decomposition {

class Formula;

// A value under construction. Copyable; belongs to its formula, which outlives it.
struct Term {
  Formula* formula = nullptr;
  ValueId value = 0;

  Shape shape() const;
  Dtype dtype() const;
};

// The decomposition of one node. The first error sticks: later calls record nothing and return
// the first input, and Finish returns the error.
class Formula {
 public:
  Formula(const Node& node, absl::Span<const ValueId> inputs, absl::Span<const int64_t> extents,
          GraphBuilder& builder)
      : node_(node), inputs_(inputs), extents_(extents), builder_(builder) {}

  size_t input_count() const { return inputs_.size(); }
  Term input(size_t i) { return {this, inputs_[i]}; }
  int64_t extent(size_t i) const { return extents_[i]; }
  absl::Span<const int64_t> extents() const { return extents_; }
  int32_t attribute(size_t i) const { return node_.attributes[i]; }
  double number(size_t i) const { return node_.numbers[i]; }
  const TensorType& type(ValueId value) const { return builder_.type(value); }

  // A scalar. Each pair of number and dtype is recorded once.
  Term Constant(double number, Dtype dtype);
  Term Iota(Dtype dtype, const Shape& shape, int axis);

  Term Apply(Op op, std::initializer_list<Term> inputs, absl::Span<const int32_t> attributes = {},
             absl::Span<const int64_t> extents = {});

  // Consecutive outputs of the node.
  void Output(Term term) { decomposition_.outputs.push_back(term.value); }
  absl::StatusOr<Decomposition> Finish();

 private:
  struct DtypeNumber {
    Dtype dtype;
    double number;
  };

  const Node& node_;
  const absl::Span<const ValueId> inputs_;
  const absl::Span<const int64_t> extents_;
  GraphBuilder& builder_;
  Decomposition decomposition_;
  std::vector<DtypeNumber> constants_;  // of decomposition_.constants
  absl::Status status_;
};

// Arithmetic on operands of equal shape, or with one of rank 0. A plain number takes the dtype of
// the other operand.
Term operator+(Term a, Term b);
Term operator-(Term a, Term b);
Term operator*(Term a, Term b);
Term operator/(Term a, Term b);
Term operator+(Term a, double b);
Term operator*(Term a, double b);
Term operator-(double a, Term b);

Term Apply(Op op, Term x);
Term Compare(Op op, Term a, Term b);
Term Compare(Op op, Term a, double b);
Term Select(Term condition, Term a, Term b);
Term Select(Term condition, double a, Term b);

// None where the term has that dtype.
Term Cast(Term x, Dtype dtype);
// To the dtype in which a device computes: f32 for the 16-bit floats.
Term Widen(Term x);
Term Reshape(Term x, const Shape& shape);
Term Transpose(Term x, std::initializer_list<int32_t> permutation);
// Dim i of x becomes dim axes[i] of the result, whose other dims repeat.
Term Broadcast(Term x, const Shape& shape, absl::Span<const int32_t> axes);
// Elements [start, limit) along one axis.
Term SliceAxis(Term x, int axis, int64_t start, int64_t limit);
Term Reduce(Op op, Term x, absl::Span<const int32_t> axes);
// Repeats a reduced term along the axes that Reduce removed.
Term Unreduce(Term x, const Shape& shape, absl::Span<const int32_t> axes);
Term Matmul(Term a, Term b, bool transpose_a = false, bool transpose_b = false);

}  // namespace moai::decomposition

#endif  // MOAI_GRAPH_FORMULA_H_
