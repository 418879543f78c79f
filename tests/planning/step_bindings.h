// Contents for captured training steps.
#ifndef MOAI_TESTS_PLANNING_STEP_BINDINGS_H_
#define MOAI_TESTS_PLANNING_STEP_BINDINGS_H_

#include <cstdint>
#include <vector>

#include "graph/captured_step.h"
#include "graph/interpreter.h"

namespace moai {

// For the graph's inputs, in order: ids below `ids`, small weights, moments as training leaves
// them, the scalars of the step.
std::vector<ReferenceTensor> StepBindings(const CapturedStep& step, int64_t ids, uint64_t seed);

}  // namespace moai

#endif  // MOAI_TESTS_PLANNING_STEP_BINDINGS_H_
