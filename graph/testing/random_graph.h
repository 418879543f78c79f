// Random graphs of many nodes, for property tests and as seeds of mutations.
#ifndef MOAI_GRAPH_TESTING_RANDOM_GRAPH_H_
#define MOAI_GRAPH_TESTING_RANDOM_GRAPH_H_

#include <random>
#include <vector>

#include "graph/builder.h"

namespace moai {

struct RandomGraphOptions {
  int nodes = 16;  // at most a few more, from the last node's operands
  int64_t max_extent = 4;
  bool allow_empty = true;
  // The ops and dtypes to draw from; empty: all. Views that join nodes come on top.
  std::vector<Op> ops;
  std::vector<Dtype> dtypes;
};

// A graph that verifies: nodes read graph inputs (slots, values, feeds, scalars) and each other;
// some outputs are values, some replace slots, some create them.
//
// Meant for comparing implementations that round differently. An op that jumps or has a pole
// (floor, sort, division, a norm) therefore only reads values that are exact on every
// implementation, and results that may be huge (exp, products) are read by no other node. Contents
// from RandomBindings (random_bindings.h) suit it.
CapturedGraph RandomGraph(std::mt19937_64& random, const RandomGraphOptions& options = {});

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_RANDOM_GRAPH_H_
