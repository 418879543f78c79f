#include "program/strided_view.h"

namespace moai {

StridedView ApplyView(const Node& node, absl::Span<const int64_t> extents, const Shape& shape,
                      const StridedView& from) {
  StridedView view;
  view.shape = shape;
  view.offset = from.offset;
  switch (node.op) {
    case Op::kTranspose:
      for (int32_t axis : node.attributes) view.strides.push_back(from.strides[axis]);
      return view;
    case Op::kSlice:
      for (int dim = 0; dim < shape.rank(); ++dim) {
        view.strides.push_back(from.strides[dim] * extents[3 * dim + 2]);
        // An empty slice may start past the end.
        if (shape.elements() > 0) view.offset += from.strides[dim] * extents[3 * dim];
      }
      return view;
    case Op::kFlip:
      view.strides = from.strides;
      for (int32_t axis : node.attributes) {
        if (shape.elements() > 0) view.offset += from.strides[axis] * (shape[axis] - 1);
        view.strides[axis] = -view.strides[axis];
      }
      return view;
    case Op::kBroadcast:
      view.strides = Shape::Filled(shape.rank(), 0);
      for (int dim = 0; dim < from.shape.rank(); ++dim) {
        const int to = node.attributes[1 + dim];
        if (from.shape[dim] == shape[to]) view.strides[to] = from.strides[dim];
      }
      return view;
    case Op::kFill:
      view.strides = Shape::Filled(shape.rank(), 0);
      return view;
    default:
      view.strides = DenseStrides(shape);
      return view;
  }
}

}  // namespace moai
