// Extents of a tensor. A fixed array, so that recording and inference never allocate for a shape.
#ifndef MOAI_GRAPH_SHAPE_H_
#define MOAI_GRAPH_SHAPE_H_

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/types/span.h"
#include "graph/dtype.h"

namespace moai {

inline constexpr int kMaxRank = 8;

// Up to kMaxRank numbers, one per dimension, outermost first. Also used for strides (in elements).
// Trivially copyable. Dimensions past rank() are zero, so that equality is memberwise.
class Shape {
 public:
  constexpr Shape() = default;
  // Requires extents.size() <= kMaxRank; whoever takes extents from a peer checks that first.
  constexpr Shape(std::initializer_list<int64_t> extents) {
    for (int64_t extent : extents) push_back(extent);
  }
  explicit Shape(absl::Span<const int64_t> extents) {
    for (int64_t extent : extents) push_back(extent);
  }
  static Shape Filled(int rank, int64_t extent) {
    Shape shape;
    for (int i = 0; i < rank; ++i) shape.push_back(extent);
    return shape;
  }

  constexpr int rank() const { return rank_; }
  constexpr int64_t operator[](int dim) const { return extents_[dim]; }
  constexpr int64_t& operator[](int dim) { return extents_[dim]; }
  constexpr int64_t back() const { return extents_[rank_ - 1]; }
  constexpr void push_back(int64_t extent) { extents_[rank_++] = extent; }
  // Inserts or removes one dimension; later dimensions move.
  void Insert(int dim, int64_t extent);
  void Erase(int dim);

  constexpr const int64_t* begin() const { return extents_.data(); }
  constexpr const int64_t* end() const { return extents_.data() + rank_; }
  absl::Span<const int64_t> span() const { return {extents_.data(), size_t(rank_)}; }

  // Product of the extents; 1 for rank 0. Verified shapes never overflow (see kMaxElements).
  constexpr int64_t elements() const {
    int64_t count = 1;
    for (int i = 0; i < rank_; ++i) count *= extents_[i];
    return count;
  }

  friend constexpr bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

// No verified tensor has more elements; keeps every byte and index computation inside int64.
inline constexpr int64_t kMaxElements = int64_t{1} << 44;

// True where no extent is negative and the product of the extents, counting empty dims as 1, is at
// most kMaxElements. Every verified shape is: elements, strides and byte counts then fit int64.
bool WithinLimits(const Shape& shape);

// Row-major strides, in elements, of a dense tensor of this shape.
Shape DenseStrides(const Shape& shape);

// "[2, 3]"
std::string ToString(const Shape& shape);

// What a value is: element type and extents. Always dense row-major unless a stride is stated.
struct TensorType {
  Dtype dtype = Dtype::kF32;
  Shape shape;

  int64_t bytes() const { return shape.elements() * ByteSize(dtype); }
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

// "f32[2, 3]"
std::string ToString(const TensorType& type);

}  // namespace moai

#endif  // MOAI_GRAPH_SHAPE_H_
