// The reference interpreter: runs any graph in double precision, slowly and plainly. It is the
// oracle of the parity tests; nothing else uses it.
#ifndef MOAI_GRAPH_INTERPRETER_H_
#define MOAI_GRAPH_INTERPRETER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// A dense row-major tensor whose elements, of whatever dtype, are held as doubles (integers and
// bool: as int64, in `integers`, within the range of their dtype). Floats are not rounded to their
// dtype unless asked.
struct ReferenceTensor {
  TensorType type;
  std::vector<double> floats;     // IsFloat(type.dtype)
  std::vector<int64_t> integers;  // otherwise

  static ReferenceTensor Zeros(const TensorType& type);
  // Conversions from and to the bytes a device holds. Floats round to nearest even, 16-bit ones
  // through f32. FromBytes requires type.bytes() bytes.
  static ReferenceTensor FromBytes(const TensorType& type, absl::Span<const std::byte> bytes);
  std::vector<std::byte> ToBytes() const;
};

// `value` as a device holds it in a float dtype: rounded to nearest even (16-bit floats through
// f32, in which devices compute them).
double RoundToDtype(double value, Dtype dtype);

struct InterpreterOptions {
  // Round every float value to its dtype after each node of the graph, and the bindings before the
  // first, as a device without fusion would. Ops that are kept whole round once, at their end.
  bool round_to_dtype = false;
};

// `bindings[i]` is the value of graph input i (scalars: rank 0, floats among them are rounded to
// their dtype in any case, as the wire does). Returns the graph outputs in order.
//
// Every op runs: primitives as op_table.def says, all others through Decompose (decompose.h).
// InvalidArgument where the graph does not verify, a binding has another type than its input, or a
// checked index is out of range: the words name node, op, index and limit. Nothing is returned
// then: a step commits or it does not. Thread-safe.
absl::StatusOr<std::vector<ReferenceTensor>> Interpret(const Graph& graph,
                                                       absl::Span<const int64_t> sizes,
                                                       absl::Span<const ReferenceTensor> bindings,
                                                       const InterpreterOptions& options = {});

}  // namespace moai

#endif  // MOAI_GRAPH_INTERPRETER_H_
