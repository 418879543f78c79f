// Strides of views, which decide whether a reshape aliases or copies, as they do in PyTorch.
#ifndef MOAI_CLIENT_TENSOR_VIEW_STRIDES_H_
#define MOAI_CLIENT_TENSOR_VIEW_STRIDES_H_

#include <optional>

#include "graph/shape.h"

namespace moai {

// The strides with which a tensor of `shape` and `strides` shows as `to` (of as many elements);
// nullopt where no strides do.
std::optional<Shape> ReshapedStrides(const Shape& shape, const Shape& strides, const Shape& to);

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_VIEW_STRIDES_H_
