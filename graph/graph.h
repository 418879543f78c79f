// A captured graph: the structure of a computation, without its sizes and its changing numbers.
//
// Three things describe one execution:
//   structure  Graph: ops, axes, dtypes, ranks, flags. Named by its fingerprint, sent once.
//   sizes      Sizes: every extent and offset, in one flat vector. Sent when it changes.
//   scalars    one 64-bit number per scalar input (learning rate, literal, random offset). Sent
//              when it changes; a new value never costs a compilation.
//
// A graph is pure SSA: values are numbered in the order of their definition, by an input or a node.
// State is named by slots: an input reads a slot, an output replaces one (and is given its memory).
//
// Plain data. Not synchronised; a Graph that is shared between threads is const.
#ifndef MOAI_GRAPH_GRAPH_H_
#define MOAI_GRAPH_GRAPH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "graph/dtype.h"
#include "graph/op.h"
#include "graph/shape.h"

namespace moai {

using ValueId = uint32_t;  // index into Graph::values

// What the structure knows of a value.
struct Value {
  Dtype dtype = Dtype::kF32;
  uint8_t rank = 0;
  friend bool operator==(const Value&, const Value&) = default;
};

// Numeric values are part of the wire format.
enum class InputKind : uint8_t {
  kSlot = 1,    // session state, read in place; `index` is the position in the slot bindings
  kValue = 2,   // a value that an earlier step produced; `index` is the position in value bindings
  kFeed = 3,    // bytes the client sends for this step; `index` is the position in the feeds
  kScalar = 4,  // rank 0 number sent with the step; `index` is the position in the scalars
};

// Inputs are in the order of their values; between nodes, where the program first used them.
struct Input {
  InputKind kind = InputKind::kValue;
  uint32_t index = 0;
  ValueId value = 0;
  friend bool operator==(const Input&, const Input&) = default;
};

struct Node {
  Op op = Op::kInvalid;
  absl::InlinedVector<ValueId, 4> inputs;
  // Structural integers (axes, flags, dtypes), in the order of the op table's `attributes`.
  absl::InlinedVector<int32_t, 4> attributes;
  // Structural numbers (eps), in the order of the op table's `numbers`.
  absl::InlinedVector<double, 1> numbers;
  ValueId first_output = 0;  // outputs are first_output .. first_output + output_count - 1
  uint8_t output_count = 1;
  uint32_t first_extent = 0;  // where this node's extents begin in Sizes
  uint32_t extent_count = 0;
};

enum class OutputKind : uint8_t {
  kValue = 1,  // becomes a value of the session: id = first output id of the step + its rank among
               // the value outputs of this graph
  kSlot = 2,   // replaces (or creates) slot binding `index` when the step commits
};

struct Output {
  OutputKind kind = OutputKind::kValue;
  ValueId value = 0;
  uint32_t index = 0;  // slot binding, for kSlot
  friend bool operator==(const Output&, const Output&) = default;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Input> inputs;
  std::vector<Node> nodes;
  std::vector<Output> outputs;
  // How many bindings of each sort a step supplies. An index may be used by one input and (for
  // slots) one output; a slot that only an output names is created by the step.
  uint32_t slot_count = 0;
  uint32_t value_count = 0;
  uint32_t feed_count = 0;
  uint32_t scalar_count = 0;
  // Length of the size vector: the ranks of all inputs that are not scalars, then each node's.
  uint32_t extent_count = 0;
};

// The size vector: the extents of every non-scalar input in order, then each node's extents.
using Sizes = std::vector<int64_t>;

// A number sent with a step. Holds an f64 for float scalar inputs, an i64 for integer and bool
// ones.
union Scalar {
  double f64;
  int64_t i64;
};

// 128 bits that name a structure. Equal structures have equal fingerprints on every machine.
struct Fingerprint {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const Fingerprint& f) {
    return H::combine(std::move(state), f.high, f.low);
  }
};

inline absl::Span<const int64_t> Extents(const Node& node, absl::Span<const int64_t> sizes) {
  return sizes.subspan(node.first_extent, node.extent_count);
}

}  // namespace moai

#endif  // MOAI_GRAPH_GRAPH_H_
