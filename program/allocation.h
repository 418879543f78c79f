// How many bytes of a device an allocation takes, and what a step needs beside what is alive. The
// planner decides by these figures what fits, and the executor allocates by them.
#ifndef MOAI_PROGRAM_ALLOCATION_H_
#define MOAI_PROGRAM_ALLOCATION_H_

#include <algorithm>
#include <bit>
#include <cstdint>

#include "program/program.h"

namespace moai {

inline constexpr int64_t kPageBytes = 4096;
inline constexpr int64_t kSmallestAllocation = 64;
inline constexpr int64_t kLargestSmallAllocation = 2048;

// Bytes that an object of `bytes` bytes takes: a power of two up to 2 KiB, whole pages above. An
// empty object takes the smallest allocation, so that every object has an address.
constexpr int64_t AllocatedBytes(int64_t bytes) {
  if (bytes <= kSmallestAllocation) return kSmallestAllocation;
  if (bytes <= kLargestSmallAllocation) return int64_t(std::bit_ceil(uint64_t(bytes)));
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// Feeds up to this size travel inside their step's message; larger ones are uploaded.
inline constexpr int64_t kMaxInlineBytes = int64_t{64} << 10;

// What a step takes from a device beside the objects that are alive when it begins.
struct StepMemory {
  int64_t arena = 0;  // temporaries, scratch, scalars and inline feeds; shared by all programs
  int64_t fresh = 0;  // outputs and created slots: alive afterwards
  int64_t total() const { return arena + fresh; }
};

// Layout of a program's arena: the memory map's arena, then the scalars, 8 bytes each, then each
// feed that may travel inline, at multiples of kBufferAlignment.
constexpr int64_t AlignBuffer(int64_t bytes) {
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

inline StepMemory StepMemoryOf(const Program& program) {
  StepMemory memory;
  memory.arena = AlignBuffer(program.memory.arena) +
                 AlignBuffer(int64_t(program.scalar_types.size()) * int64_t{sizeof(Scalar)});
  for (const TensorType& feed : program.feed_types) {
    if (feed.bytes() <= kMaxInlineBytes) memory.arena += AlignBuffer(feed.bytes());
  }
  // Never empty, so that buffers without bytes have an address too.
  memory.arena = std::max<int64_t>(1, (memory.arena + kPageBytes - 1) / kPageBytes) * kPageBytes;
  for (const TensorType& output : program.output_types) {
    memory.fresh += AllocatedBytes(output.bytes());
  }
  for (size_t slot = 0; slot < program.slot_types.size(); ++slot) {
    if (program.slot_created[slot])
      memory.fresh += AllocatedBytes(program.slot_types[slot].bytes());
  }
  return memory;
}

}  // namespace moai

#endif  // MOAI_PROGRAM_ALLOCATION_H_
