// What a gradient op takes from its forward op, computed plainly; not for others.
#ifndef MOAI_GRAPH_TESTING_SAVED_RESULTS_H_
#define MOAI_GRAPH_TESTING_SAVED_RESULTS_H_

#include <vector>

#include "graph/builder.h"

namespace moai::testing_internal {

// Overwrites the contents (by value id) of those inputs of a gradient node that its forward op
// saved, so that they fit the other inputs. Does nothing for other ops.
void ComputeSavedResults(const CapturedGraph& captured, const Node& node,
                         std::vector<std::vector<double>>& contents);

}  // namespace moai::testing_internal

#endif  // MOAI_GRAPH_TESTING_SAVED_RESULTS_H_
