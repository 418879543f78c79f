// Places buffers with known lifetimes into one arena.
#ifndef MOAI_PROGRAM_MEMORY_MAP_H_
#define MOAI_PROGRAM_MEMORY_MAP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace moai {

struct Lifetime {
  int64_t bytes = 0;
  // First and last instruction during which the buffer must keep its bytes, both included.
  uint32_t first = 0;
  uint32_t last = 0;
};

struct Placement {
  std::vector<int64_t> offsets;  // per lifetime; multiples of `alignment`
  int64_t bytes = 0;             // of the arena
};

// Best fit, largest buffers first. Deterministic. Buffers of no bytes are at offset 0.
Placement PlaceLifetimes(absl::Span<const Lifetime> lifetimes, int64_t alignment);

}  // namespace moai

#endif  // MOAI_PROGRAM_MEMORY_MAP_H_
