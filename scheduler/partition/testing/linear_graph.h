// Random graphs in which terms that are still to be summed may be passed on: for tests.
#ifndef MOAI_SCHEDULER_PARTITION_TESTING_LINEAR_GRAPH_H_
#define MOAI_SCHEDULER_PARTITION_TESTING_LINEAR_GRAPH_H_

#include <random>

#include "graph/builder.h"

namespace moai {

// A random node of an op that is linear in some operands, each of which is a sum, or of another
// sum's negation. RandomGraph (graph/testing) lets hardly any node read a sum.
CapturedGraph RandomLinearGraph(std::mt19937_64& random);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_TESTING_LINEAR_GRAPH_H_
