// How far results of float ops may be from the reference interpreter's.
#ifndef MOAI_GRAPH_TESTING_TOLERANCE_H_
#define MOAI_GRAPH_TESTING_TOLERANCE_H_

#include "graph/dtype.h"

namespace moai {

// What rounding each op of a chain of some ops to `dtype` may change, relative to the magnitude of
// the values. 0 for dtypes that are not floats.
inline double RoundingTolerance(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
      return 1e-9;
    case Dtype::kF32:
      return 1e-4;
    case Dtype::kF16:
      return 1e-2;
    case Dtype::kBF16:
      return 8e-2;
    default:
      return 0;
  }
}

// The one that rounds more; a result is as exact as the coarsest dtype on its way.
inline Dtype Coarser(Dtype a, Dtype b) {
  return RoundingTolerance(b) > RoundingTolerance(a) ? b : a;
}

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_TOLERANCE_H_
