// What attention and its gradient share: extents, strides, and where a mask's rows are.
#ifndef MOAI_WORKER_KERNELS_CPU_ATTENTION_SHAPE_H_
#define MOAI_WORKER_KERNELS_CPU_ATTENTION_SHAPE_H_

#include <algorithm>
#include <cstdint>

#include "absl/status/statusor.h"
#include "graph/dtype.h"

namespace moai {

struct KernelContext;

// Queries and keys are worked on in blocks of this many; the workspace table counts on it.
inline constexpr int64_t kAttentionBlock = 64;

struct AttentionShape {
  Dtype dtype;
  int64_t b, s, h, d, t, g, e;
  bool causal;
  double scale;
  // Mask [b or 1, h or 1, s, t] in `mask_dtype`; strides are 0 where it repeats.
  bool masked;
  Dtype mask_dtype;
  int64_t mask_batch, mask_head;

  // Elements from one position to the next.
  int64_t q_row() const { return h * d; }
  int64_t k_row() const { return g * d; }
  int64_t v_row() const { return g * e; }
  int64_t o_row() const { return h * e; }

  int64_t query_blocks() const { return (s + kAttentionBlock - 1) / kAttentionBlock; }
  // Keys that the queries before `query_end` may see.
  int64_t KeyLimit(int64_t query_end) const {
    return causal ? std::clamp<int64_t>(query_end + (t - s), 0, t) : t;
  }
  int64_t HeadsPerKey() const { return h / g; }
};

// The addresses of one call; `mask` may be null.
struct AttentionPointers {
  const void* q;
  const void* k;
  const void* v;
  const void* mask;
};

// Reads the extents of attention or its gradient. `mask_input` is where a mask stands, if there is
// one. Unimplemented for dtypes that are not floats.
absl::StatusOr<AttentionShape> MakeAttentionShape(const KernelContext& context, int mask_input);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_ATTENTION_SHAPE_H_
