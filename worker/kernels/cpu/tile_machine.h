// The tile bytecode machine: what one instruction of a fused kernel is at run time. A step is a
// function over a whole tile, found once when the kernel is made; running a tile is one indirect
// call per step. The functions are compiled for several instruction sets (tile_ops.cc).
#ifndef MOAI_WORKER_KERNELS_CPU_TILE_MACHINE_H_
#define MOAI_WORKER_KERNELS_CPU_TILE_MACHINE_H_

#include <cstddef>
#include <cstdint>

#include "program/tile.h"

namespace moai {

// accumulator[i] = combine(accumulator[i], values[i]); exact extent. For f32, f64 and i64 arrays.
using AccumulateFunction = void (*)(void* accumulator, const void* values, int64_t count);

// One tile on its way through the code. Belongs to one thread.
struct TileFrame {
  // Where each value of the code is: in a register, or straight in an operand's memory. A register
  // is padded to whole vectors: steps may write up to kTilePadding bytes past `count` elements.
  std::byte* const* values = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t count = 0;                      // rows * cols
  std::byte* const* addresses = nullptr;  // per tile operand: its element at the tile's corner
  const int64_t* positions = nullptr;     // per tile operand: the corner's offset in elements
  // Per kReduce of the code: as many elements as a tile, and how they combine with one.
  std::byte* const* accumulators = nullptr;
  const AccumulateFunction* accumulate = nullptr;
};

inline constexpr int64_t kTilePadding = 64;

struct TileStep;
using TileFunction = void (*)(const TileStep& step, const TileFrame& frame);

struct TileStep {
  TileFunction run = nullptr;
  // Indices into TileFrame::values.
  uint32_t dst = 0;
  uint32_t a = 0;
  uint32_t b = 0;
  uint32_t c = 0;
  uint32_t operand = 0;  // index of a tile operand; for kReduce of the accumulator
  int32_t attribute = 0;
  // Of the operand, in elements.
  int64_t row_stride = 0;
  int64_t col_stride = 0;
  double immediate = 0;

  template <class T>
  T* Dst(const TileFrame& frame) const {
    return reinterpret_cast<T*>(frame.values[dst]);
  }
  template <class T>
  const T* A(const TileFrame& frame) const {
    return reinterpret_cast<const T*>(frame.values[a]);
  }
  template <class T>
  const T* B(const TileFrame& frame) const {
    return reinterpret_cast<const T*>(frame.values[b]);
  }
  template <class T>
  const T* C(const TileFrame& frame) const {
    return reinterpret_cast<const T*>(frame.values[c]);
  }
};

// Which inputs of an op are the same for every element (left by the prologue).
enum class TileScalars : uint8_t { kNone, kA, kB };

// The function of an instruction on this machine; null where there is none.
TileFunction FindTileFunction(const TileInstruction& instruction, Dtype operand_dtype,
                              TileScalars scalars);

AccumulateFunction FindAccumulateFunction(TileType type, ReduceKind kind);

// Where a whole tile is reduced: values fold into kRowLanes accumulators, whatever `count` is.
inline constexpr int64_t kRowLanes = 64;
AccumulateFunction FindAccumulateRowFunction(TileType type, ReduceKind kind);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_TILE_MACHINE_H_
