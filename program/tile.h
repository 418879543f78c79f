// Tile bytecode: a fused chain of pointwise ops, ended by stores or by one kind of reduction.
//
// A tile kernel walks an iteration space (the common shape of its chain). The innermost dims are
// cut into tiles that stay in the first-level cache; for each tile the code runs once, every
// instruction over the whole tile. Operands are strided views over the iteration space, so that
// broadcast, transpose, slice and flip cost no copy.
//
// Order matters where an output lies in the memory of an input (in-place updates): within a tile
// the code runs in order, so every load of such an input precedes the store.
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

constexpr TileType TileTypeOf(Dtype dtype) {
  if (dtype == Dtype::kF64) return TileType::kF64;
  return IsFloat(dtype) ? TileType::kF32 : TileType::kI64;
}
constexpr int64_t ByteSize(TileType type) { return type == TileType::kF32 ? 4 : 8; }

enum class TileCode : uint8_t {
  kLoad,         // dst <- operand[a], converted from its dtype
  kStore,        // operand[a] <- register b, converted to its dtype
  kOp,           // dst <- op(a, b, c)
  kMultiplyAdd,  // dst <- a * b + c, floats, rounded once
  kConvert,      // dst <- register a as a number of `dtype` (cast), kept in that dtype's tile type
  kIndex,        // dst (i64) <- where operand[a] stands, in elements; the operand has no memory
  kConstant,     // dst <- immediate
  kReduce,  // operand[a] combines register b with `reduce` over the reduced dims; where `op` is
            // kReduceMean, the sum is divided by `immediate` at its end
};

struct TileInstruction {
  TileCode code = TileCode::kOp;
  TileType type = TileType::kF32;  // of dst (kStore, kReduce: of register b)
  TileType from = TileType::kF32;  // for kConvert: of register a; for kOp: of input b
  // For kConvert the target; for kOp the dtype of the result, where its width matters.
  Dtype dtype = Dtype::kF32;
  ReduceKind reduce = ReduceKind::kNone;
  uint8_t dst = 0;
  uint8_t a = 0;
  uint8_t b = 0;
  uint8_t c = 0;
  Op op = Op::kInvalid;   // for kOp and kReduce
  int32_t attribute = 0;  // for kOp: the instance of a random op
  double immediate = 0;
  friend bool operator==(const TileInstruction&, const TileInstruction&) = default;
};

// A kIndex operand names no operand of the instruction.
inline constexpr uint32_t kNoOperand = UINT32_MAX;

struct TileOperand {
  uint32_t operand = 0;  // position in the instruction's inputs followed by its outputs
  Dtype dtype = Dtype::kF32;
  Shape strides;       // elements per step of each iteration dim; 0 where it does not vary
  int64_t offset = 0;  // elements
};

struct TileKernel {
  // Iteration space, dims already merged where strides allow. With a reduction: the kept dims come
  // first, then the reduced ones; then one last kept dim, where the innermost dim is kept.
  Shape space;
  uint32_t reduced_dims = 0;  // bit d: dim d of the space is reduced
  std::vector<TileOperand> operands;
  std::vector<TileInstruction> code;
  int registers = 0;  // how many the code uses, at most kMaxTileRegisters
  // The first instructions depend on rank 0 operands and constants only: they may run once instead
  // of once a tile. What they leave in registers is not overwritten.
  int prologue = 0;
};

inline constexpr int kMaxTileRegisters = 32;

}  // namespace moai

#endif  // MOAI_PROGRAM_TILE_H_
