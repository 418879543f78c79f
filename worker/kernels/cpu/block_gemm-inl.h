// A matrix product for blocks that lie in cache, where a library call would cost more than it
// saves: the inside of attention. See simd_math-inl.h for use.
//
// Measured for 64 x 64 x 64 in f32 on one core of a Zen 5: see benchmarks/kernels_benchmark.cc.

#if defined(MOAI_WORKER_KERNELS_CPU_BLOCK_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_BLOCK_GEMM_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_BLOCK_GEMM_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_BLOCK_GEMM_INL_H_
#endif

#include "hwy/highway.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// Rows x columns of A with any strides (its elements are broadcast), so that a transposed A costs
// nothing. Rows of B and C are contiguous.
template <class C>
struct BlockGemmArguments {
  int64_t m, n, k;
  const C* a;
  int64_t a_row, a_column;
  const C* b;
  int64_t b_row;
  C* c;
  int64_t c_row;
  bool accumulate;  // C += A B; else C = A B
};

// kRows rows by kVectors vectors of C, kept in registers over the whole sum. With kPartial, the
// (only) vector has `count` columns.
template <int kRows, int kVectors, bool kPartial, class C>
HWY_INLINE void BlockGemmTile(const BlockGemmArguments<C>& p, int64_t row, int64_t column,
                              size_t count) {
  const hn::ScalableTag<C> d;
  using V = hn::Vec<hn::ScalableTag<C>>;
  const int64_t lanes = hn::Lanes(d);
  V sums[kRows][kVectors];
  C* c = p.c + row * p.c_row + column;
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors; ++v) {
      if (!p.accumulate) {
        sums[r][v] = hn::Zero(d);
      } else if constexpr (kPartial) {
        sums[r][v] = LoadSome(d, c + r * p.c_row, count);
      } else {
        sums[r][v] = hn::LoadU(d, c + r * p.c_row + v * lanes);
      }
    }
  }
  const C* a = p.a + row * p.a_row;
  const C* b = p.b + column;
  for (int64_t k = 0; k < p.k; ++k) {
    V right[kVectors];
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kPartial) {
        right[v] = LoadSome(d, b, count);
      } else {
        right[v] = hn::LoadU(d, b + v * lanes);
      }
    }
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      const V left = hn::Set(d, a[r * p.a_row]);
      HWY_UNROLL(8)
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(left, right[v], sums[r][v]);
    }
    a += p.a_column;
    b += p.b_row;
  }
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(8)
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kPartial) {
        StoreSome(sums[r][v], d, c + r * p.c_row, count);
      } else {
        hn::StoreU(sums[r][v], d, c + r * p.c_row + v * lanes);
      }
    }
  }
}

template <int kVectors, bool kPartial, class C>
HWY_NOINLINE void BlockGemmColumns(const BlockGemmArguments<C>& p, int64_t column, size_t count) {
  int64_t row = 0;
  for (; row + 6 <= p.m; row += 6) BlockGemmTile<6, kVectors, kPartial>(p, row, column, count);
  if (row + 4 <= p.m) {
    BlockGemmTile<4, kVectors, kPartial>(p, row, column, count);
    row += 4;
  }
  for (; row < p.m; ++row) BlockGemmTile<1, kVectors, kPartial>(p, row, column, count);
}

template <class C>
HWY_NOINLINE void BlockGemm(const BlockGemmArguments<C>& p) {
  const hn::ScalableTag<C> d;
  const int64_t lanes = hn::Lanes(d);
  // 6 x 4 sums fit the 32 registers of AVX-512, 6 x 2 the 16 of AVX2.
  constexpr int kWide = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  int64_t column = 0;
  for (; column + kWide * lanes <= p.n; column += kWide * lanes) {
    BlockGemmColumns<kWide, false>(p, column, lanes);
  }
  for (; column + lanes <= p.n; column += lanes) BlockGemmColumns<1, false>(p, column, lanes);
  if (column < p.n) BlockGemmColumns<1, true>(p, column, p.n - column);
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_BLOCK_GEMM_INL_H_
