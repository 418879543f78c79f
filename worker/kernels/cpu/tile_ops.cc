// The steps of tile kernels, compiled once per instruction set.
#include "worker/kernels/cpu/tile_machine.h"

// Fewer variants than Highway knows: they are large, and these are what machines have.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/tile_ops.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/tile_float_ops-inl.h"
#include "worker/kernels/cpu/tile_integer_ops-inl.h"
#include "worker/kernels/cpu/tile_memory-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

TileFunction FindFunction(const TileInstruction& instruction, Dtype operand_dtype,
                          TileScalars scalars) {
  if (instruction.code == TileCode::kMultiplyAdd) {
    return instruction.type == TileType::kF32 ? FindMultiplyAdd<float>(scalars)
                                              : FindMultiplyAdd<double>(scalars);
  }
  if (instruction.code != TileCode::kOp) return FindMemoryFunction(instruction, operand_dtype);
  if (instruction.op == Op::kRandomUniform || instruction.op == Op::kRandomNormal) {
    return FindRandomFunction(instruction);
  }
  // The type of an op is that of its inputs: comparisons make i64 from floats.
  switch (instruction.op == Op::kSelect ? instruction.type : instruction.from) {
    case TileType::kF32:
      return FindFloatFunction<float>(instruction.op, scalars);
    case TileType::kF64:
      return FindFloatFunction<double>(instruction.op, scalars);
    case TileType::kI64:
      return FindIntegerFunction(instruction.op, instruction.dtype);
  }
  return nullptr;
}

AccumulateFunction FindAccumulate(TileType type, ReduceKind kind) {
  switch (type) {
    case TileType::kF32:
      return FindAccumulateFor<float>(kind);
    case TileType::kF64:
      return FindAccumulateFor<double>(kind);
    case TileType::kI64:
      return FindAccumulateFor<int64_t>(kind);
  }
  return nullptr;
}

AccumulateFunction FindAccumulateRow(TileType type, ReduceKind kind) {
  switch (type) {
    case TileType::kF32:
      return FindAccumulateRowFor<float>(kind);
    case TileType::kF64:
      return FindAccumulateRowFor<double>(kind);
    case TileType::kI64:
      return FindAccumulateRowFor<int64_t>(kind);
  }
  return nullptr;
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {

HWY_EXPORT(FindFunction);
HWY_EXPORT(FindAccumulate);
HWY_EXPORT(FindAccumulateRow);

TileFunction FindTileFunction(const TileInstruction& instruction, Dtype operand_dtype,
                              TileScalars scalars) {
  return HWY_DYNAMIC_DISPATCH(FindFunction)(instruction, operand_dtype, scalars);
}

AccumulateFunction FindAccumulateFunction(TileType type, ReduceKind kind) {
  return HWY_DYNAMIC_DISPATCH(FindAccumulate)(type, kind);
}

AccumulateFunction FindAccumulateRowFunction(TileType type, ReduceKind kind) {
  return HWY_DYNAMIC_DISPATCH(FindAccumulateRow)(type, kind);
}

}  // namespace moai
#endif  // HWY_ONCE
