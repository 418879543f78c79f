// Contents for the inputs of a graph that suit the nodes which read them.
#ifndef MOAI_GRAPH_TESTING_RANDOM_BINDINGS_H_
#define MOAI_GRAPH_TESTING_RANDOM_BINDINGS_H_

#include <cstddef>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "graph/builder.h"

namespace moai {

// For each graph input in order, the dense bytes of its content in its dtype (scalars too: one
// element). What an input holds depends on the first node that reads it: ids are in range, a log
// sees mostly positive numbers, a variance is never negative, and the saved results that a gradient
// takes (statistics, logsumexp, pooled values) are those of its other inputs where these are inputs
// of the graph as well. Floats are moderate and, where ties matter, often equal.
std::vector<std::vector<std::byte>> RandomBindings(const CapturedGraph& captured,
                                                   std::mt19937_64& random);

// One element to and from bytes; integers are exact up to 2^53.
void StoreElement(Dtype dtype, double value, std::byte* destination);
double LoadElement(Dtype dtype, const std::byte* source);

// A scalar binding as the session sends it.
Scalar ScalarFromBytes(Dtype dtype, absl::Span<const std::byte> bytes);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_RANDOM_BINDINGS_H_
