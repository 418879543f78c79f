// Runs single ops in the reference interpreter, for tests.
#ifndef MOAI_GRAPH_TESTING_RUN_NODE_H_
#define MOAI_GRAPH_TESTING_RUN_NODE_H_

#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/builder.h"
#include "graph/interpreter.h"
#include "graph/testing/random_node.h"

namespace moai {

// RandomBindings (random_bindings.h) as the interpreter takes them.
std::vector<ReferenceTensor> RandomReferenceBindings(const CapturedGraph& captured,
                                                     std::mt19937_64& random);

// The outputs of one node of these inputs, all taken as value inputs. `spec.inputs` is ignored: the
// tensors have types.
absl::StatusOr<std::vector<ReferenceTensor>> RunNode(const NodeSpec& spec,
                                                     const std::vector<ReferenceTensor>& inputs);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_RUN_NODE_H_
