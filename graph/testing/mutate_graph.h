// Hostile variations of graphs: some still valid, most of them wrong in one or a few places.
#ifndef MOAI_GRAPH_TESTING_MUTATE_GRAPH_H_
#define MOAI_GRAPH_TESTING_MUTATE_GRAPH_H_

#include <random>
#include <string>

#include "graph/graph.h"

namespace moai {

// Changes one thing: a field to a near, an extreme or another valid number, a list's length, an op,
// an operand, an order. First extents are kept as a parser would set them.
void MutateGraph(Graph& graph, std::mt19937_64& random);

// Changes one number of the size vector, or its length.
void MutateSizes(Sizes& sizes, std::mt19937_64& random);

// Flips, replaces, inserts, removes or repeats a few bytes.
void MutateBytes(std::string& bytes, std::mt19937_64& random);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_MUTATE_GRAPH_H_
