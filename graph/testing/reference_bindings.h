// Random contents for the inputs of a graph, as the reference interpreter takes them.
#ifndef MOAI_GRAPH_TESTING_REFERENCE_BINDINGS_H_
#define MOAI_GRAPH_TESTING_REFERENCE_BINDINGS_H_

#include <random>
#include <vector>

#include "graph/builder.h"
#include "graph/interpreter.h"

namespace moai {

// The contents that RandomBindings (random_bindings.h) draws, for each graph input in order.
std::vector<ReferenceTensor> RandomReferenceBindings(const CapturedGraph& captured,
                                                     std::mt19937_64& random);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_REFERENCE_BINDINGS_H_
