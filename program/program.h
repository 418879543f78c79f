// What one device runs: a flat instruction list over a fixed memory map.
//
// A program is compiled from a graph in two parts, so that new sizes cost microseconds an op:
//   ProgramTemplate  from the structure alone: order, fusion, which buffers alias (compile.h)
//   Program          the template at one size vector: shapes, strides, offsets, memory map
//
// Planner and worker run the same code, so they agree to the byte on what a program needs.
// Plain data, immutable once built.
#ifndef MOAI_PROGRAM_PROGRAM_H_
#define MOAI_PROGRAM_PROGRAM_H_

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "graph/graph.h"
#include "program/tile.h"

namespace moai {

using BufferId = uint32_t;  // index into Program::buffers

enum class BufferKind : uint8_t {
  kArena,    // temporary; lives at `offset` of the program's arena
  kSlot,     // memory of slot binding `index`
  kValue,    // memory of value binding `index`; read only
  kFeed,     // memory of feed `index`; read only
  kScalar,   // scalar `index`, converted to its dtype; read only
  kOutput,   // fresh memory of value output `index`, handed to the session when the step commits
  kScratch,  // working space of one instruction; lives at `offset` of the arena
};

struct Buffer {
  BufferKind kind = BufferKind::kArena;
  uint32_t index = 0;
  int64_t offset = 0;  // bytes from the arena's base, a multiple of kBufferAlignment
  int64_t bytes = 0;
};

inline constexpr int64_t kBufferAlignment = 64;

// Whether it lies at its `offset` of the arena.
inline bool InArena(const Buffer& buffer) {
  return buffer.kind == BufferKind::kArena || buffer.kind == BufferKind::kScratch;
}

// A strided view of a buffer.
struct Operand {
  BufferId buffer = 0;
  Dtype dtype = Dtype::kF32;
  Shape shape;
  Shape strides;       // in elements; may be 0 (broadcast) or negative (flip)
  int64_t offset = 0;  // in elements, of the view's first element

  bool dense() const { return strides == DenseStrides(shape); }
  TensorType type() const { return {dtype, shape}; }
};

// One kernel call. Kernels other than the fused ones and copies see dense operands only, except
// that a matmul may be given operands whose last two dims are swapped (it sets transpose flags).
struct Instruction {
  Op op = Op::kInvalid;  // kInvalid: a fused kernel, see `fused`
  absl::InlinedVector<Operand, 4> inputs;
  absl::InlinedVector<Operand, 3> outputs;
  absl::InlinedVector<int32_t, 4> attributes;  // of the node
  absl::InlinedVector<double, 1> numbers;
  absl::InlinedVector<int64_t, 8> extents;
  int32_t fused = -1;    // index into Program::kernels
  int32_t scratch = -1;  // buffer of kind kScratch
  uint32_t node = 0;     // first graph node this came from, for error messages and traces
  // May go on beside the instructions after it (overlap.h). Collectives run one after the other all
  // the same.
  bool overlapped = false;
  // How many of the program's overlapped instructions, from the first, are complete before this one
  // begins.
  uint32_t overlapped_before = 0;
};

// Bytes a device needs, by cause. The sum is what "fits" is decided on.
struct MemoryMap {
  int64_t arena = 0;          // temporaries and scratch, reused from step to step
  int64_t outputs = 0;        // fresh memory for value outputs
  int64_t created_slots = 0;  // slots that the step creates
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<TileKernel> kernels;
  std::vector<Instruction> instructions;
  // Instructions before this index may raise the error flag; those from it on cannot fail.
  uint32_t commit_point = 0;
  // The first instruction that writes a slot which existed before, and not before the commit point;
  // their number where none does. By then the devices of a step know how all have fared: from the
  // commit point on they have had time to tell each other. It comes after the same collectives on
  // each of them.
  uint32_t first_write = 0;
  // Per slot binding: its type before (unset rank for created ones) and after the step.
  std::vector<TensorType> slot_types;
  std::vector<TensorType> value_types;  // value bindings
  std::vector<TensorType> feed_types;
  std::vector<Dtype> scalar_types;
  std::vector<TensorType> output_types;  // value outputs
  // Slots that the step creates (no input reads them).
  std::vector<bool> slot_created;
  MemoryMap memory;
};

}  // namespace moai

#endif  // MOAI_PROGRAM_PROGRAM_H_
