// How random_node.h makes the nodes of each family; not for others.
#ifndef MOAI_GRAPH_TESTING_NODE_SPECS_H_
#define MOAI_GRAPH_TESTING_NODE_SPECS_H_

#include <utility>

#include "graph/testing/random_node.h"

namespace moai::testing_internal {

// Draws one node. The family functions return false, having drawn nothing, for ops of another
// family.
class SpecMaker {
 public:
  SpecMaker(Op op, Dtype dtype, std::mt19937_64& random, const RandomNodeOptions& options)
      : dtype_(dtype), random_(random), options_(options) {
    spec_.op = op;
  }

  NodeSpec Pointwise();
  bool Movement();
  bool Reduction();    // and order
  bool Contraction();  // matmul, convolution, pooling
  bool Whole();        // softmax, norms, attention, optimizer
  bool Indexed();
  NodeSpec Take() { return std::move(spec_); }

 private:
  int64_t Int(int64_t low, int64_t high) { return RandomInt(random_, low, high); }
  bool OneOf(int n) { return OneIn(random_, n); }
  // 1 .. max_extent, and 0 now and then where allowed.
  int64_t Extent();
  // 1 .. most, and within max_extent.
  int64_t Few(int64_t most);
  Shape RandomShape(int min_rank, int max_rank);
  Dtype FloatDtype();
  Dtype IdDtype() { return OneOf(2) ? Dtype::kI32 : Dtype::kI64; }
  Dtype Statistic() const { return dtype_ == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32; }
  // The node's dtype, or f32 where the op allows mixed precision.
  Dtype Mixed() { return OneOf(2) ? dtype_ : Dtype::kF32; }

  void Input(const Shape& shape) { spec_.inputs.push_back({dtype_, shape}); }
  void Input(Dtype dtype, const Shape& shape) { spec_.inputs.push_back({dtype, shape}); }
  void Attributes(std::initializer_list<int64_t> values) {
    for (int64_t value : values) spec_.attributes.push_back(static_cast<int32_t>(value));
  }
  void Extents(const Shape& shape) {
    spec_.extents.insert(spec_.extents.end(), shape.begin(), shape.end());
  }
  void Created(int min_rank);
  void PartOfLarger(const Shape& shape);
  void Window(int64_t rows);
  void Concat();
  void Convolution();
  void Pooling();
  void Attention();

  Dtype dtype_;
  std::mt19937_64& random_;
  const RandomNodeOptions& options_;
  NodeSpec spec_;
};

}  // namespace moai::testing_internal

#endif  // MOAI_GRAPH_TESTING_NODE_SPECS_H_
