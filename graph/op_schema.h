// The texts of the op table, parsed once: what inference, verification and signatures read.
#ifndef MOAI_GRAPH_OP_SCHEMA_H_
#define MOAI_GRAPH_OP_SCHEMA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "graph/op.h"
#include "graph/signature.h"

namespace moai {

// How one word of a signature takes dims of an operand.
enum class TokenKind : uint8_t {
  kSingle,    // `r`: one dim
  kGroup,     // `i...`: any number of dims
  kAtAxis,    // `r@axis`: the dim at position `axis`
  kAtAxes,    // `r@axes`: the dims at all positions in `axes`
  kPermuted,  // `i@axes...`: the group `i`, in the order that `axes` says
};

struct SignatureToken {
  TokenKind kind = TokenKind::kSingle;
  uint8_t symbol = 0;  // index into OpSchema::symbols
};

// The tokens of one operand, in order. Empty: a rank 0 operand.
struct OperandPattern {
  absl::InlinedVector<SignatureToken, 6> tokens;
  int singles = 0;  // tokens that take exactly one dim
  int groups = 0;   // kGroup tokens
  // Position of the token with `@axis` or `@axes`; -1 where there is none.
  int axis_token = -1;
};

struct Symbol {
  std::string name;
  IndexKind kind = IndexKind::kParallel;
  ReduceKind reduce = ReduceKind::kNone;
  bool on_left = false;
  bool on_right = false;
};

inline constexpr int kMaxSymbols = 16;

enum class AttributeKind : uint8_t {
  kDtype,        // a valid Dtype
  kAxis,         // a dim of the first input (or of the output, where the op has no input)
  kRank,         // the rank of the output, 0 .. kMaxRank
  kFlag,         // 0 or 1
  kNonNegative,  // 0 or more
  kReduce,       // a ReduceKind other than kNone
  kAny,
  kAxes,  // takes the rest; distinct dims
};

struct AttributeSpec {
  std::string name;
  AttributeKind kind = AttributeKind::kAny;
};

// How many extents a node has.
enum class ExtentLayout : uint8_t {
  kFixed,         // `extent_words`
  kShape,         // `extent_words` for each dim of the output
  kPerDimension,  // `extent_words` for each dim of the first input
};

struct OpSchema {
  std::vector<Symbol> symbols;
  // Patterns of the leading inputs. Inputs past these are rank 0, but for a variadic op, whose
  // inputs all follow the first pattern.
  std::vector<OperandPattern> inputs;
  std::vector<OperandPattern> outputs;
  std::vector<AttributeSpec> attributes;
  // Positions in `attributes`; -1 where the op has none.
  int axis_attribute = -1;
  int axes_attribute = -1;
  int rank_attribute = -1;
  int dtype_attribute = -1;
  int group_attribute = -1;
  int reduce_attribute = -1;
  int number_count = 0;
  ExtentLayout extent_layout = ExtentLayout::kFixed;
  int extent_words = 0;
  // Words in brackets, which a node has all or none of; laid out like the others.
  int optional_extent_words = 0;
};

// The schema of a valid op. Requires IsValid(op). Thread-safe.
const OpSchema& Schema(Op op);

// Numbers in the `conv` and `pool` blocks of extents.
inline constexpr int kConvExtents = 9;
inline constexpr int kPoolExtents = 8;

}  // namespace moai

#endif  // MOAI_GRAPH_OP_SCHEMA_H_
