// Parts of tensors: how a dim is divided among devices, and how nodes say that they make or look
// into a part of something larger.
#ifndef MOAI_GRAPH_PARTS_H_
#define MOAI_GRAPH_PARTS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "graph/graph.h"
#include "graph/shape.h"

namespace moai {

// How many of `n` units part `index` of `parts` has: as even as can be, the first parts get one
// more. Part 0 is never smaller than another.
constexpr int64_t PartOf(int64_t n, int64_t parts, int64_t index) {
  return n / parts + (index < n % parts ? 1 : 0);
}
// The first unit of that part.
constexpr int64_t PartBegin(int64_t n, int64_t parts, int64_t index) {
  return n / parts * index + (index < n % parts ? index : n % parts);
}

// What iota and the random ops make: the elements [start, start + shape) of a tensor of shape
// `whole`, each as it is in the whole.
struct CreatedPart {
  Shape shape;
  Shape whole;
  Shape start;

  // Row-major position in the whole of the part's first element.
  int64_t first_position() const {
    const Shape strides = DenseStrides(whole);
    int64_t position = 0;
    for (int dim = 0; dim < start.rank(); ++dim) position += start[dim] * strides[dim];
    return position;
  }
};

// Of an iota or random node whose kinds are right. Extents: the shape; or shape, whole, start.
inline CreatedPart CreatedPartOf(const Node& node, absl::Span<const int64_t> extents) {
  const size_t rank = static_cast<size_t>(node.attributes[2]);
  const Shape shape(extents.subspan(0, rank));
  if (extents.size() == rank) {
    return {shape, shape, Shape::Filled(static_cast<int>(rank), 0)};
  }
  return {shape, Shape(extents.subspan(rank, rank)), Shape(extents.subspan(2 * rank, rank))};
}

// Which rows of its table a lookup has: [first, first + rows) of `whole`. Ids are [0, whole).
struct TableWindow {
  int64_t first = 0;
  int64_t rows = 0;
  int64_t whole = 0;

  // Unsigned, so that one comparison checks both ends, and no id overflows.
  bool Valid(int64_t id) const { return static_cast<uint64_t>(id) < static_cast<uint64_t>(whole); }
  // Requires Valid(id).
  bool Holds(int64_t id) const { return id >= first && id - first < rows; }
};

// `window` are the extents that may state a window: none (all rows), or first, whole.
inline TableWindow WindowOfTable(int64_t rows, absl::Span<const int64_t> window) {
  if (window.empty()) return {0, rows, rows};
  return {window[0], rows, window[1]};
}

}  // namespace moai

#endif  // MOAI_GRAPH_PARTS_H_
