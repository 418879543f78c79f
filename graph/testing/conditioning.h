// How ops treat the rounding errors of what they read: which operands a random program may give
// them if its results are to be compared between implementations that round differently.
#ifndef MOAI_GRAPH_TESTING_CONDITIONING_H_
#define MOAI_GRAPH_TESTING_CONDITIONING_H_

#include <cstddef>

#include "graph/op.h"

namespace moai {

// Larger values should not be read again: errors relative to them would swamp small results.
inline constexpr double kTameMagnitude = 8;

// Copies elements or makes them without rounding.
bool CopiesElements(Op op);
// Smooth, and its result not much larger than its largest operand.
bool IsGentle(Op op);
// Smooth, but the result may be several times larger.
bool IsSmooth(Op op);
// Operands whose content RandomBindings must choose: ids, saved results, probabilities, options.
bool NeedsOwnInput(Op op, size_t position);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_CONDITIONING_H_
