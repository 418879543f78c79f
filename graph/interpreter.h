// The reference interpreter: runs any graph in double precision, slowly and plainly. It is the
// oracle of the parity tests; nothing else uses it.
#ifndef MOAI_GRAPH_INTERPRETER_H_
#define MOAI_GRAPH_INTERPRETER_H_

#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// A dense row-major tensor whose elements, of whatever dtype, are held as doubles (integers and
// bool: as int64, in `integers`). Floats are not rounded to their dtype unless asked.
struct ReferenceTensor {
  TensorType type;
  std::vector<double> floats;     // IsFloat(type.dtype)
  std::vector<int64_t> integers;  // otherwise

  static ReferenceTensor Zeros(const TensorType& type);
  // Conversions from and to the bytes a device holds (bf16/f16 round to nearest even).
  static ReferenceTensor FromBytes(const TensorType& type, absl::Span<const std::byte> bytes);
  std::vector<std::byte> ToBytes() const;
};

struct InterpreterOptions {
  // Round every float value to its dtype after each node, as a device without fusion would.
  bool round_to_dtype = false;
  // Compute whole ops through their decomposition instead of directly (they must agree).
  bool decompose = true;
};

// `bindings[i]` is the value of graph input i (scalars: rank 0). Returns the graph outputs in
// order. InvalidArgument where the graph does not verify or a checked index is out of range
// (nothing is returned: a step commits or it does not).
absl::StatusOr<std::vector<ReferenceTensor>> Interpret(const Graph& graph,
                                                       absl::Span<const int64_t> sizes,
                                                       absl::Span<const ReferenceTensor> bindings,
                                                       const InterpreterOptions& options = {});

}  // namespace moai

#endif  // MOAI_GRAPH_INTERPRETER_H_
