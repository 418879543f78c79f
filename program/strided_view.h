// The strides that a chain of view nodes gives to dense memory.
#ifndef MOAI_PROGRAM_STRIDED_VIEW_H_
#define MOAI_PROGRAM_STRIDED_VIEW_H_

#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

struct StridedView {
  Shape shape;
  Shape strides;       // in elements
  int64_t offset = 0;  // in elements
};

// The view that `node` makes of `from`, with the shape that inference gave its output.
// A reshape requires that `from` is dense. Requires a view op (or fill) that InferNode accepts.
StridedView ApplyView(const Node& node, absl::Span<const int64_t> extents, const Shape& shape,
                      const StridedView& from);

}  // namespace moai

#endif  // MOAI_PROGRAM_STRIDED_VIEW_H_
