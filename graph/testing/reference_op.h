// Runs single ops through the reference interpreter, for tests that state what an op means.
#ifndef MOAI_GRAPH_TESTING_REFERENCE_OP_H_
#define MOAI_GRAPH_TESTING_REFERENCE_OP_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/interpreter.h"
#include "graph/testing/random_node.h"

namespace moai {

// Tensors from their elements, which are not rounded.
ReferenceTensor Floats(const Shape& shape, std::vector<double> elements, Dtype dtype = Dtype::kF64);
ReferenceTensor Integers(const Shape& shape, std::vector<int64_t> elements,
                         Dtype dtype = Dtype::kI64);

// What a node has beside its inputs.
struct OpDetails {
  std::vector<int32_t> attributes;
  std::vector<int64_t> extents;
  std::vector<double> numbers;
};

// All outputs of one node over these inputs.
absl::StatusOr<std::vector<ReferenceTensor>> RunOp(Op op, absl::Span<const ReferenceTensor> inputs,
                                                   const OpDetails& details = {});

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_REFERENCE_OP_H_
