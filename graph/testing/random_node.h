// Random valid nodes of any op, for tests that must cover the whole op table: kernels against the
// reference interpreter, gradients, the wire. Everything follows from the generator's seed.
#ifndef MOAI_GRAPH_TESTING_RANDOM_NODE_H_
#define MOAI_GRAPH_TESTING_RANDOM_NODE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "graph/builder.h"

namespace moai {

struct RandomNodeOptions {
  // Sometimes make a dim 0, where the op has a meaning for it.
  bool allow_empty = true;
  // No extent of an input is larger (some outputs are: concat, pad, fold).
  int64_t max_extent = 7;
};

// The dtypes in which an op exists. An op with operands of several dtypes is drawn by the one that
// names it: of the data, not of the ids; of the branches of a select; of the result, where the op
// has no tensor input (iota, random); of the gradient, for embedding_grad.
std::vector<Dtype> DtypesOf(Op op);

// What a node is made of, apart from where its inputs come from.
struct NodeSpec {
  Op op = Op::kInvalid;
  std::vector<TensorType> inputs;
  std::vector<int32_t> attributes;
  std::vector<int64_t> extents;
  std::vector<double> numbers;
};

// A node that InferNode accepts: odd sizes, ranks 0 to 4, attributes varied, rank 0 operands and
// optional inputs sometimes there. Unimplemented for an op this library does not know: add it.
absl::StatusOr<NodeSpec> RandomNodeSpec(Op op, Dtype dtype, std::mt19937_64& random,
                                        const RandomNodeOptions& options = {});

// The same as a graph of one node. Tensors are value inputs; rank 0 operands are value or scalar
// inputs. Every output of the node is an output of the graph, in order.
absl::StatusOr<CapturedGraph> RandomNodeGraph(Op op, Dtype dtype, std::mt19937_64& random,
                                              const RandomNodeOptions& options = {});

// A number from [low, high], both included.
int64_t RandomInt(std::mt19937_64& random, int64_t low, int64_t high);
// True once in `n` times.
bool OneIn(std::mt19937_64& random, int n);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_RANDOM_NODE_H_
