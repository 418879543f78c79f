// Random graphs in which terms that are still to be summed may be passed on: for tests.
#ifndef MOAI_SCHEDULER_PARTITION_TESTING_LINEAR_GRAPH_H_
#define MOAI_SCHEDULER_PARTITION_TESTING_LINEAR_GRAPH_H_

#include <random>

#include "graph/builder.h"

namespace moai {

// Whether the op may pass on terms.
bool IsLinear(Op op);

// A random node of such an op, or of this one, each of whose operands that take terms is a sum or a
// negated sum. RandomGraph (graph/testing) lets hardly any node read a sum.
CapturedGraph RandomLinearGraph(std::mt19937_64& random, Op op = Op::kInvalid);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_TESTING_LINEAR_GRAPH_H_
