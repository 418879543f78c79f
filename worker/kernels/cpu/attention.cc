// Attention forward: blocks of queries against blocks of keys, with an online softmax, so that the
// scores never exist as a whole (Dao et al., FlashAttention, arXiv 2205.14135).
#include <cmath>

#include "worker/kernels/cpu/attention_shape.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/attention_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// The running maximum, sum and rescaling factor of each query of a block.
template <class C>
struct OnlineSoftmax {
  C* maximum;
  C* sum;
  C* factor;

  void Start() const {
    std::fill_n(maximum, kBlock, -std::numeric_limits<C>::infinity());
    std::fill_n(sum, kBlock, C{0});
  }

  // Turns scores [keys][kBlock] into e^(score - new maximum), and sets `factor` to what earlier
  // sums must be multiplied with.
  HWY_INLINE void Step(C* scores, int64_t keys) const {
    const hn::ScalableTag<C> d;
    const int64_t lanes = hn::Lanes(d);
    const auto lowest = hn::Set(d, -std::numeric_limits<C>::infinity());
    for (int64_t i = 0; i < kBlock; i += lanes) {
      const auto before = hn::Load(d, maximum + i);
      auto m = before;
      for (int64_t j = 0; j < keys; ++j) m = hn::Max(m, hn::Load(d, scores + j * kBlock + i));
      hn::Store(m, d, maximum + i);
      // A query that sees no key yet keeps its -inf; subtracting 0 gives e^-inf = 0.
      const auto shift = hn::IfThenZeroElse(hn::Eq(m, lowest), m);
      const auto f = VectorExpNonPositive(d, hn::Sub(before, shift));
      auto total = hn::Mul(hn::Load(d, sum + i), f);
      for (int64_t j = 0; j < keys; ++j) {
        const auto p =
            VectorExpNonPositive(d, hn::Sub(hn::Load(d, scores + j * kBlock + i), shift));
        total = hn::Add(total, p);
        hn::Store(p, d, scores + j * kBlock + i);
      }
      hn::Store(total, d, sum + i);
      hn::Store(f, d, factor + i);
    }
  }
};

template <class C>
HWY_INLINE void ScaleRow(C* row, int64_t count, C factor) {
  const hn::ScalableTag<C> d;
  const int64_t lanes = hn::Lanes(d);
  for (int64_t i = 0; i < count; i += lanes) {
    StoreSome(hn::Mul(LoadSome(d, row + i, count - i), hn::Set(d, factor)), d, row + i, count - i);
  }
}

template <class T>
void AttentionQueryBlock(const AttentionShape& shape, const AttentionPointers& from, void* o,
                         void* lse, int64_t batch, int64_t head, int64_t query, void* scratch) {
  using C = ComputeType<T>;
  const int64_t queries = std::min(kBlock, shape.s - query);
  const int64_t key_head = head / shape.HeadsPerKey();
  ScratchCutter<C> cut{static_cast<C*>(scratch)};
  C* q = cut.Take(shape.d * kBlock);
  C* scores = cut.Take(kBlock * kBlock);
  C* sums = cut.Take(kBlock * shape.e);
  C* k_buffer = cut.Take(kBlock * shape.d);
  C* v_buffer = cut.Take(kBlock * shape.e);
  const OnlineSoftmax<C> softmax{cut.Take(kBlock), cut.Take(kBlock), cut.Take(kBlock)};

  TransposeBlock(
      static_cast<const T*>(from.q) + ((batch * shape.s + query) * shape.h + head) * shape.d,
      shape.q_row(), queries, shape.d, static_cast<C>(shape.scale), q);
  softmax.Start();
  std::fill_n(sums, kBlock * shape.e, C{0});
  const int64_t key_limit = shape.KeyLimit(query + queries);
  for (int64_t key = 0; key < key_limit; key += kBlock) {
    const int64_t keys = std::min(kBlock, key_limit - key);
    const int64_t position = (batch * shape.t + key) * shape.g + key_head;
    const Rows<C> k = ComputeRows(static_cast<const T*>(from.k) + position * shape.d, shape.k_row(),
                                  keys, shape.d, k_buffer);
    const Rows<C> v = ComputeRows(static_cast<const T*>(from.v) + position * shape.e, shape.v_row(),
                                  keys, shape.e, v_buffer);
    TransposedProduct(k, keys, shape.d, q, scores);
    MaskScores(shape, from.mask, batch, head, query, queries, key, keys, scores);
    softmax.Step(scores, keys);
    if (key > 0) {
      for (int64_t i = 0; i < queries; ++i) {
        if (softmax.factor[i] != 1) ScaleRow(sums + i * shape.e, shape.e, softmax.factor[i]);
      }
    }
    BlockGemm(BlockGemmArguments<C>{.m = queries,
                                    .n = shape.e,
                                    .k = keys,
                                    .a = scores,
                                    .a_row = 1,
                                    .a_column = kBlock,
                                    .b = v.data,
                                    .b_row = v.stride,
                                    .c = sums,
                                    .c_row = shape.e,
                                    .accumulate = true});
  }
  T* out = static_cast<T*>(o) + ((batch * shape.s + query) * shape.h + head) * shape.e;
  C* lse_out = static_cast<C*>(lse) + (batch * shape.h + head) * shape.s + query;
  for (int64_t i = 0; i < queries; ++i) {
    const bool sees = softmax.sum[i] != 0;  // true for NaN
    ScaleRow(sums + i * shape.e, shape.e, sees ? 1 / softmax.sum[i] : C{0});
    ConvertRow(sums + i * shape.e, out + i * shape.o_row(), shape.e);
    lse_out[i] =
        sees ? softmax.maximum[i] + std::log(softmax.sum[i]) : -std::numeric_limits<C>::infinity();
  }
}

void AttentionBlock(const AttentionShape& shape, const AttentionPointers& from, void* o, void* lse,
                    int64_t batch, int64_t head, int64_t query, void* scratch) {
  VisitFloat(shape.dtype, [&](auto tag) HWY_ATTR {
    AttentionQueryBlock<typename decltype(tag)::type>(shape, from, o, lse, batch, head, query,
                                                      scratch);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
HWY_EXPORT(AttentionBlock);

absl::StatusOr<AttentionShape> MakeAttentionShape(const KernelContext& context, int mask_input) {
  const Shape& q = context.input_shape(0);
  const Shape& k = context.input_shape(1);
  const Shape& v = context.input_shape(2);
  AttentionShape shape{.dtype = context.input_dtype(0),
                       .b = q[0],
                       .s = q[1],
                       .h = q[2],
                       .d = q[3],
                       .t = k[1],
                       .g = k[2],
                       .e = v[3],
                       .causal = context.instruction.attributes[0] != 0,
                       .scale = context.instruction.numbers[0],
                       .masked = int(context.instruction.inputs.size()) > mask_input};
  if (!IsFloat(shape.dtype)) return UnsupportedTypes(context);
  if (shape.masked) {
    const Shape& mask = context.input_shape(mask_input);
    shape.mask_dtype = context.input_dtype(mask_input);
    const int64_t head = shape.s * shape.t;
    shape.mask_head = mask[1] == 1 ? 0 : head;
    shape.mask_batch = mask[0] == 1 ? 0 : mask[1] * head;
  }
  return shape;
}

KernelOr MakeAttentionKernel(const KernelContext& context) {
  auto shape = MakeAttentionShape(context, 3);
  if (!shape.ok()) return shape.status();
  const int64_t element = shape->dtype == Dtype::kF64 ? 8 : 4;
  const int64_t aligned =
      element * (kAttentionBlock * (2 * shape->d + 2 * shape->e + kAttentionBlock + 3) + 256);
  auto scratch = ScratchFor(context, aligned * context.device.threads);
  if (!scratch.ok()) return scratch.status();
  return MakeKernel([shape = *shape, work = *scratch, aligned, q = In(context, 0),
                     k = In(context, 1), v = In(context, 2),
                     mask = shape->masked ? In(context, 3) : Address{}, o = Out(context, 0),
                     lse = Out(context, 1), block = HWY_DYNAMIC_DISPATCH(AttentionBlock),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const AttentionPointers from{q.at<const void>(arguments), k.at<const void>(arguments),
                                 v.at<const void>(arguments),
                                 shape.masked ? mask.at<const void>(arguments) : nullptr};
    const int64_t blocks = shape.query_blocks();
    ParallelFor(threads, shape.b * shape.h * blocks, 1, [&](int64_t task, int64_t, int thread) {
      block(shape, from, o.at<void>(arguments), lse.at<void>(arguments), task / blocks / shape.h,
            task / blocks % shape.h, task % blocks * kAttentionBlock,
            work.at<std::byte>(arguments) + thread * aligned);
    });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
