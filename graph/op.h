// The op table: every op is declared once, in op_table.def. From an entry come shape inference,
// FLOPs and bytes, legality of splits (sharding and micro-batches), verification and the tests'
// lists.
#ifndef MOAI_GRAPH_OP_H_
#define MOAI_GRAPH_OP_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace moai {

// Wire values are positions in op_table.def: append there, never reorder.
enum class Op : uint16_t {
  kInvalid = 0,
#define MOAI_OP(id, ...) id,
#include "graph/op_table.def"
#undef MOAI_OP
};

inline constexpr int kOpCount = 0
#define MOAI_OP(id, ...) +1
#include "graph/op_table.def"
#undef MOAI_OP
    ;

// What an op is to the parts that treat whole groups of ops alike.
enum class OpClass : uint8_t {
  kPointwise,   // every output element depends on the same element of each input
  kView,        // moves elements without changing them; a strided view of its input
  kCreate,      // makes elements from nothing but attributes, extents and scalars (iota, random)
  kReduce,      // combines the elements along some axes
  kMatmul,      // contraction that a matrix kernel runs
  kIndexed,     // reads or writes at positions that are data (gather, embedding, scatter)
  kWhole,       // one kernel, with a decomposition that defines it (softmax, norms, attention, ...)
  kOrder,       // order or prefix along an axis (sort, top_k, cumsum)
  kCollective,  // exchanges elements with other devices; the partitioner's, never a client's
};

// How the dtypes of an op's inputs relate and what its outputs have.
enum class DtypeRule : uint8_t {
  kSame,        // all inputs one dtype, outputs the same
  kSameFloat,   // likewise, floating only
  kSameNumber,  // likewise, any but bool
  kSameBits,    // likewise, bool or integer only (logic)
  kCompare,     // inputs one dtype, output bool
  kFloatTest,   // floating input, bool output
  kSelect,      // bool, then two of one dtype, output that dtype
  kAttribute,   // output dtype is the attribute `dtype`
  kIndexOf,     // input a number, output i64 (argmax)
  kSpecial,     // as the entry's own inference function says
};

struct OpEntry {
  Op op;
  absl::string_view name;
  // Einsum-style index signature, "inputs -> outputs"; see op_table.def for the notation.
  absl::string_view signature;
  // Space-separated names of Node::attributes and Node::numbers; "axes..." takes the rest.
  absl::string_view attributes;
  absl::string_view numbers;
  // What Node::extents mean.
  absl::string_view extents;
  OpClass op_class;
  DtypeRule dtype_rule;
  int min_inputs;
  int max_inputs;  // more than min_inputs: trailing inputs are optional; -1: any number
  int outputs;
  // The input whose elements are checked as indices (the op may raise the step's error flag), or
  // -1.
  int checked_input;
};

// The entry of a valid op. Requires IsValid(op).
const OpEntry& Entry(Op op);
bool IsValid(Op op);
absl::string_view Name(Op op);
std::optional<Op> OpFromName(absl::string_view name);
absl::Span<const OpEntry> AllOps();
// AllOps without the collectives: what a client's graph may hold. Tests that run single ops, on one
// device, walk these; collectives need several (infer_collective_test, interpret_devices_test).
absl::Span<const OpEntry> ClientOps();
// True for ops that exchange elements with other devices. Requires IsValid(op).
bool IsCollective(Op op);
// True for kSend and kRecv, collectives that have two members.
inline bool IsTransfer(Op op) { return op == Op::kSend || op == Op::kRecv; }
// True for ops that raise the step's error flag where an index is out of range; `op` need not be
// valid.
bool IsChecked(Op op);

}  // namespace moai

#endif  // MOAI_GRAPH_OP_H_
