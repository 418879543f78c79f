// How operands of different shapes and dtypes meet.
#ifndef MOAI_CLIENT_TENSOR_PROMOTE_H_
#define MOAI_CLIENT_TENSOR_PROMOTE_H_

#include <optional>

#include "graph/dtype.h"
#include "graph/shape.h"

namespace moai {

// NumPy's broadcasting; nullopt where the shapes do not fit.
std::optional<Shape> BroadcastShapes(const Shape& a, const Shape& b);

// The dtype in which an op on both is computed. See ops.h.
Dtype PromoteTypes(const TensorType& a, const TensorType& b);

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_PROMOTE_H_
