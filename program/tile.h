// Tile bytecode: a fused chain of pointwise ops, ended by stores or by one kind of reduction.
//
// A tile kernel walks an iteration space (the common shape of its chain). The innermost dim is cut
// into tiles that stay in the first-level cache; for each tile the code runs once, every
// instruction over the whole tile. Operands are strided views over the iteration space, so that
// broadcast, transpose, slice and flip cost no copy.
#ifndef MOAI_PROGRAM_TILE_H_
#define MOAI_PROGRAM_TILE_H_

#include <cstdint>
#include <vector>

#include "graph/dtype.h"
#include "graph/op.h"
#include "graph/shape.h"
#include "graph/signature.h"

namespace moai {

// What registers hold while a kernel computes: floats of up to 32 bits compute in f32, f64 in f64,
// integers and bool in i64.
enum class TileType : uint8_t { kF32, kF64, kI64 };

enum class TileCode : uint8_t {
  kLoad,     // dst <- operand[a], converted from its dtype
  kStore,    // operand[a] <- register b, converted to its dtype
  kOp,       // dst <- op(a, b, c)
  kConvert,  // dst <- register a, converted between tile types; rounds to `dtype` on the way
  kReduce,   // operand[a] combines register b with `reduce` over the reduced dims
};

struct TileInstruction {
  TileCode code = TileCode::kOp;
  Op op = Op::kInvalid;            // for kOp
  TileType type = TileType::kF32;  // of dst (kStore, kReduce: of register b)
  TileType from = TileType::kF32;  // for kConvert: of register a; for kOp: of the inputs
  Dtype dtype = Dtype::kF32;       // for kConvert and for ops whose dtype matters (integer width)
  ReduceKind reduce = ReduceKind::kNone;
  uint8_t dst = 0;
  uint8_t a = 0;
  uint8_t b = 0;
  uint8_t c = 0;
};

struct TileOperand {
  uint32_t operand = 0;  // position in the instruction's inputs followed by its outputs
  Dtype dtype = Dtype::kF32;
  Shape strides;       // elements per step of each iteration dim; 0 where it does not vary
  int64_t offset = 0;  // elements
};

struct TileKernel {
  Shape space;                // iteration space, dims already merged where strides allow
  uint32_t reduced_dims = 0;  // bit d: dim d of the space is reduced
  double reduce_scale = 1;    // multiplies a sum at its end (mean)
  std::vector<TileOperand> operands;
  std::vector<TileInstruction> code;
  int registers = 0;  // how many the code uses, at most kMaxTileRegisters
};

inline constexpr int kMaxTileRegisters = 32;

}  // namespace moai

#endif  // MOAI_PROGRAM_TILE_H_
