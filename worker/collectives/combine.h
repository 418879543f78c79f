// Combines the members' terms of a reduction, element by element.
#ifndef MOAI_WORKER_COLLECTIVES_COMBINE_H_
#define MOAI_WORKER_COLLECTIVES_COMBINE_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "graph/dtype.h"
#include "graph/signature.h"

namespace moai {

// Numbers have sum, prod, max and min; integers and bools and, or (bitwise) too, and of bools max
// and prod are or and and.
bool CanCombine(Dtype dtype, ReduceKind reduce);

// output[i] = terms[0][i] op terms[1][i] op ..., in this order. 16-bit floats are combined in f32
// and rounded once; integers wrap; NaN wins in max and min. `output` may be one of the terms.
// Requires CanCombine and at least one term.
void Combine(Dtype dtype, ReduceKind reduce, absl::Span<const std::byte* const> terms,
             int64_t count, std::byte* output);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_COMBINE_H_
