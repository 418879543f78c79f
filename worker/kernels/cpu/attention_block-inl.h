// Steps that attention and its gradient take on one block of queries and one block of keys.
//
// Scores are held transposed, [key][query]: then keys and values are used as they lie in memory,
// only a block of queries is transposed, and the softmax over keys is vertical: one lane per query.
//
// See simd_math-inl.h for use.

#if defined(MOAI_WORKER_KERNELS_CPU_ATTENTION_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
#endif

#include <limits>

#include "hwy/highway.h"
#include "worker/kernels/cpu/attention_shape.h"
#include "worker/kernels/cpu/block_gemm-inl.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

inline constexpr int64_t kBlock = kAttentionBlock;

// to[column][row] = from[row][column] * scale; rows past `rows` become 0, so that later steps work
// on whole vectors of queries.
template <class T, class C>
HWY_INLINE void TransposeBlock(const T* from, int64_t row_stride, int64_t rows, int64_t columns,
                               C scale, C* to) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* source = from + r * row_stride;
    for (int64_t c = 0; c < columns; ++c) to[c * kBlock + r] = static_cast<C>(source[c]) * scale;
  }
  for (int64_t c = 0; c < columns && rows < kBlock; ++c) {
    for (int64_t r = rows; r < kBlock; ++r) to[c * kBlock + r] = 0;
  }
}

// Rows of T as rows of the compute type: in place where they are that already, else converted into
// `buffer`, densely.
template <class C>
struct Rows {
  const C* data;
  int64_t stride;
};
template <class T, class C>
HWY_INLINE Rows<C> ComputeRows(const T* from, int64_t stride, int64_t rows, int64_t columns,
                               C* buffer) {
  if constexpr (std::is_same_v<T, C>) {
    return {from, stride};
  } else {
    for (int64_t r = 0; r < rows; ++r) ConvertRow(from + r * stride, buffer + r * columns, columns);
    return {buffer, columns};
  }
}

// Adds the mask, and -inf where a query must not see a key.
template <class C>
HWY_INLINE void MaskScores(const AttentionShape& shape, const void* mask, int64_t batch,
                           int64_t head, int64_t query, int64_t queries, int64_t key, int64_t keys,
                           C* scores) {
  if (shape.masked) {
    const int64_t base = batch * shape.mask_batch + head * shape.mask_head;
    VisitFloat(shape.mask_dtype, [&](auto tag) {
      using M = typename decltype(tag)::type;
      const M* rows = static_cast<const M*>(mask) + base + query * shape.t + key;
      for (int64_t i = 0; i < queries; ++i) {
        for (int64_t j = 0; j < keys; ++j) {
          scores[j * kBlock + i] +=
              static_cast<C>(static_cast<ComputeType<M>>(rows[i * shape.t + j]));
        }
      }
    });
  }
  if (!shape.causal) return;
  // Query i sees keys up to i + (t - s).
  for (int64_t j = 0; j < keys; ++j) {
    const int64_t first = std::clamp<int64_t>(key + j - (shape.t - shape.s) - query, 0, kBlock);
    std::fill_n(scores + j * kBlock, first, -std::numeric_limits<C>::infinity());
  }
}

// scores[key][query] = sum over columns of keys[key][column] * queries_transposed[column][query]
template <class C>
HWY_INLINE void TransposedProduct(Rows<C> keys, int64_t count, int64_t columns,
                                  const C* queries_transposed, C* scores) {
  BlockGemm(BlockGemmArguments<C>{.m = count,
                                  .n = kBlock,
                                  .k = columns,
                                  .a = keys.data,
                                  .a_row = keys.stride,
                                  .a_column = 1,
                                  .b = queries_transposed,
                                  .b_row = kBlock,
                                  .c = scores,
                                  .c_row = kBlock,
                                  .accumulate = false});
}

// One thread's working space, cut from its scratch.
template <class C>
struct ScratchCutter {
  C* next;
  C* Take(int64_t count) {
    C* taken = next;
    next += (count + 15) / 16 * 16;
    return taken;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
