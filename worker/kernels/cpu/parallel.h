// Parallel loops over the device's thread team: the OpenMP team that oneDNN uses, too.
#ifndef MOAI_WORKER_KERNELS_CPU_PARALLEL_H_
#define MOAI_WORKER_KERNELS_CPU_PARALLEL_H_

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace moai {

// Work below this many bytes touched (or as many arithmetic operations) runs on the calling thread:
// waking the team costs some microseconds.
inline constexpr int64_t kSerialWork = 1 << 15;

// Calls body(begin, end, thread) for chunks of `grain` (the last may be shorter) that cover
// [0, count). Chunk borders depend on count and grain only, never on `threads`: what is reduced
// within a chunk has the same bits on any machine. Chunks are dealt out in turn.
template <class Body>
void ParallelFor(int threads, int64_t count, int64_t grain, const Body& body) {
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = (count + grain - 1) / grain;
  const int team = static_cast<int>(std::min<int64_t>(threads, chunks));
  if (team <= 1) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(begin, std::min(count, begin + grain), 0);
    }
    return;
  }
#pragma omp parallel for num_threads(team) schedule(static)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t begin = chunk * grain;
    body(begin, std::min(count, begin + grain), omp_get_thread_num());
  }
}

// A grain for `count` items of `work` each: small loops stay on one thread, large ones make enough
// chunks for any team.
inline int64_t GrainFor(int64_t count, int64_t work) {
  const int64_t least = kSerialWork / std::max<int64_t>(work, 1);
  return std::max<int64_t>({1, least, count / 256});
}

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_PARALLEL_H_
