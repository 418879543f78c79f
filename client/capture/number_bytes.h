// Numbers of the program as scalars of a step and as bytes of a tensor.
#ifndef MOAI_CLIENT_CAPTURE_NUMBER_BYTES_H_
#define MOAI_CLIENT_CAPTURE_NUMBER_BYTES_H_

#include "client/session.h"
#include "graph/graph.h"

namespace moai {

// Integers and bool truncate, saturating.
Scalar NumberOf(Dtype dtype, double number);

// The bytes of a rank 0 tensor. Floats round to nearest even.
SharedBytes NumberBytes(Dtype dtype, Scalar number);

}  // namespace moai

#endif  // MOAI_CLIENT_CAPTURE_NUMBER_BYTES_H_
