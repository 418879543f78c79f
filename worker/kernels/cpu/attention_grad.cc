// The gradient of attention. Probabilities are computed again from the saved lse, block by block.
//
// All heads that share a key head belong to one thread, which goes through its blocks in a fixed
// order: no atomics, the same bits on every run and on any number of threads.
#include <cmath>

#include "worker/kernels/cpu/attention_shape.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/attention_grad.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/attention_block-inl.h"

#ifndef MOAI_WORKER_KERNELS_CPU_ATTENTION_GRAD_CC_
#define MOAI_WORKER_KERNELS_CPU_ATTENTION_GRAD_CC_
namespace moai {

struct AttentionGradPointers {
  AttentionPointers forward;
  const void* o;
  const void* lse;
  const void* d_o;
  void* dq;
  void* dk;
  void* dv;
};

// Elements of the compute type that one thread works in.
inline int64_t AttentionGradScratch(const AttentionShape& shape) {
  const int64_t converted = ByteSize(shape.dtype) == 2 ? 2 * shape.t * (shape.d + shape.e) : 0;
  const int64_t elements =
      kAttentionBlock * (3 * shape.d + 2 * shape.e + 2 * kAttentionBlock + 2) + converted + 256;
  return (elements + 15) / 16 * 16;
}

}  // namespace moai
#endif  // MOAI_WORKER_KERNELS_CPU_ATTENTION_GRAD_CC_

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// One key head of one batch element: the gradients of its keys and values, and of the queries of
// every head that reads it.
template <class T>
class KeyHeadGrad {
  using C = ComputeType<T>;
  static constexpr bool kInPlace = std::is_same_v<T, C>;

 public:
  KeyHeadGrad(const AttentionShape& shape, const AttentionGradPointers& p, int64_t batch,
              int64_t key_head, void* scratch)
      : shape_(shape), p_(p), batch_(batch), key_head_(key_head) {
    ScratchCutter<C> cut{static_cast<C*>(scratch)};
    q_transposed_ = cut.Take(kBlock * shape.d);
    do_transposed_ = cut.Take(kBlock * shape.e);
    p_block_ = cut.Take(kBlock * kBlock);
    ds_block_ = cut.Take(kBlock * kBlock);
    dq_ = cut.Take(kBlock * shape.d);
    q_buffer_ = cut.Take(kBlock * shape.d);
    do_buffer_ = cut.Take(kBlock * shape.e);
    lse_ = cut.Take(kBlock);
    correction_ = cut.Take(kBlock);
    const int64_t position = batch * shape.t * shape.g + key_head;
    T* dk = static_cast<T*>(p.dk) + position * shape.d;
    T* dv = static_cast<T*>(p.dv) + position * shape.e;
    if constexpr (kInPlace) {
      dk_ = dk, dk_row_ = shape.k_row();
      dv_ = dv, dv_row_ = shape.v_row();
    } else {
      dk_ = cut.Take(shape.t * shape.d), dk_row_ = shape.d;
      dv_ = cut.Take(shape.t * shape.e), dv_row_ = shape.e;
    }
    C* k_buffer = kInPlace ? nullptr : cut.Take(shape.t * shape.d);
    C* v_buffer = kInPlace ? nullptr : cut.Take(shape.t * shape.e);
    k_ = ComputeRows(static_cast<const T*>(p.forward.k) + position * shape.d, shape.k_row(),
                     shape.t, shape.d, k_buffer);
    v_ = ComputeRows(static_cast<const T*>(p.forward.v) + position * shape.e, shape.v_row(),
                     shape.t, shape.e, v_buffer);
  }

  void Run() {
    for (int64_t j = 0; j < shape_.t; ++j) {
      std::fill_n(dk_ + j * dk_row_, shape_.d, C{0});
      std::fill_n(dv_ + j * dv_row_, shape_.e, C{0});
    }
    for (int64_t i = 0; i < shape_.HeadsPerKey(); ++i) {
      const int64_t head = key_head_ * shape_.HeadsPerKey() + i;
      for (int64_t query = 0; query < shape_.s; query += kBlock) QueryBlock(head, query);
    }
    if constexpr (!kInPlace) {
      const int64_t position = batch_ * shape_.t * shape_.g + key_head_;
      T* dk = static_cast<T*>(p_.dk) + position * shape_.d;
      T* dv = static_cast<T*>(p_.dv) + position * shape_.e;
      for (int64_t j = 0; j < shape_.t; ++j) {
        ConvertRow(dk_ + j * dk_row_, dk + j * shape_.k_row(), shape_.d);
        ConvertRow(dv_ + j * dv_row_, dv + j * shape_.v_row(), shape_.e);
      }
    }
  }

 private:
  void QueryBlock(int64_t head, int64_t query) {
    const int64_t queries = std::min(kBlock, shape_.s - query);
    const int64_t position = (batch_ * shape_.s + query) * shape_.h + head;
    const T* q = static_cast<const T*>(p_.forward.q) + position * shape_.d;
    const T* o = static_cast<const T*>(p_.o) + position * shape_.e;
    const T* d_o = static_cast<const T*>(p_.d_o) + position * shape_.e;
    const C* lse = static_cast<const C*>(p_.lse) + (batch_ * shape_.h + head) * shape_.s + query;
    TransposeBlock(q, shape_.q_row(), queries, shape_.d, static_cast<C>(shape_.scale),
                   q_transposed_);
    TransposeBlock(d_o, shape_.o_row(), queries, shape_.e, C{1}, do_transposed_);
    q_rows_ = ComputeRows(q, shape_.q_row(), queries, shape_.d, q_buffer_);
    do_rows_ = ComputeRows(d_o, shape_.o_row(), queries, shape_.e, do_buffer_);
    for (int64_t i = 0; i < kBlock; ++i) {
      // Rows that see no key, and those past the end, get probabilities 0.
      const bool sees = i < queries && lse[i] != -std::numeric_limits<C>::infinity();
      lse_[i] = sees ? lse[i] : std::numeric_limits<C>::infinity();
      correction_[i] = i < queries ? Dot(o + i * shape_.o_row(), d_o + i * shape_.o_row()) : C{0};
    }
    std::fill_n(dq_, queries * shape_.d, C{0});
    const int64_t key_limit = shape_.KeyLimit(query + queries);
    for (int64_t key = 0; key < key_limit; key += kBlock) {
      KeyBlock(head, query, queries, key, std::min(kBlock, key_limit - key));
    }
    T* dq = static_cast<T*>(p_.dq) + position * shape_.d;
    for (int64_t i = 0; i < queries; ++i) {
      ConvertRow(dq_ + i * shape_.d, dq + i * shape_.q_row(), shape_.d);
    }
  }

  void KeyBlock(int64_t head, int64_t query, int64_t queries, int64_t key, int64_t keys) {
    const Rows<C> k{k_.data + key * k_.stride, k_.stride};
    const Rows<C> v{v_.data + key * v_.stride, v_.stride};
    TransposedProduct(k, keys, shape_.d, q_transposed_, p_block_);
    MaskScores(shape_, p_.forward.mask, batch_, head, query, queries, key, keys, p_block_);
    TransposedProduct(v, keys, shape_.e, do_transposed_, ds_block_);
    ScoreGrads(keys);
    // dv += p^T do, dk += ds^T q (the transposes are how the blocks lie), dq += ds k.
    Accumulate(keys, shape_.e, queries, p_block_, kBlock, 1, do_rows_, dv_ + key * dv_row_,
               dv_row_);
    Accumulate(keys, shape_.d, queries, ds_block_, kBlock, 1, q_rows_, dk_ + key * dk_row_,
               dk_row_);
    Accumulate(queries, shape_.d, keys, ds_block_, 1, kBlock, k, dq_, shape_.d);
  }

  // p = e^(score - lse); ds = p (dp - correction) scale, where the block holds dp.
  HWY_INLINE void ScoreGrads(int64_t keys) {
    const hn::ScalableTag<C> d;
    const int64_t lanes = hn::Lanes(d);
    const auto scale = hn::Set(d, static_cast<C>(shape_.scale));
    for (int64_t i = 0; i < kBlock; i += lanes) {
      const auto lse = hn::Load(d, lse_ + i), correction = hn::Load(d, correction_ + i);
      for (int64_t j = 0; j < keys; ++j) {
        C* p_at = p_block_ + j * kBlock + i;
        C* ds_at = ds_block_ + j * kBlock + i;
        const auto p = VectorExpNonPositive(d, hn::Sub(hn::Load(d, p_at), lse));
        hn::Store(p, d, p_at);
        const auto centered = hn::Sub(hn::Load(d, ds_at), correction);
        hn::Store(hn::Mul(hn::Mul(p, scale), centered), d, ds_at);
      }
    }
  }

  HWY_INLINE static void Accumulate(int64_t m, int64_t n, int64_t k, const C* a, int64_t a_row,
                                    int64_t a_column, Rows<C> b, C* c, int64_t c_row) {
    BlockGemm(BlockGemmArguments<C>{.m = m,
                                    .n = n,
                                    .k = k,
                                    .a = a,
                                    .a_row = a_row,
                                    .a_column = a_column,
                                    .b = b.data,
                                    .b_row = b.stride,
                                    .c = c,
                                    .c_row = c_row,
                                    .accumulate = true});
  }

  HWY_INLINE C Dot(const T* x, const T* y) const {
    const ComputeTag<T> d;
    const int64_t lanes = hn::Lanes(d);
    auto sum = hn::Zero(d);
    for (int64_t i = 0; i < shape_.e; i += lanes) {
      sum = hn::MulAdd(LoadSome(d, x + i, shape_.e - i), LoadSome(d, y + i, shape_.e - i), sum);
    }
    return SumLanes(d, sum);
  }

  const AttentionShape& shape_;
  const AttentionGradPointers& p_;
  const int64_t batch_, key_head_;
  C *q_transposed_, *do_transposed_, *p_block_, *ds_block_, *dq_, *q_buffer_, *do_buffer_;
  C *lse_, *correction_, *dk_, *dv_;
  int64_t dk_row_, dv_row_;
  Rows<C> k_, v_, q_rows_, do_rows_;
};

void AttentionKeyHeadGrad(const AttentionShape& shape, const AttentionGradPointers& p,
                          int64_t batch, int64_t key_head, void* scratch) {
  VisitFloat(shape.dtype, [&](auto tag) HWY_ATTR {
    KeyHeadGrad<typename decltype(tag)::type>(shape, p, batch, key_head, scratch).Run();
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
HWY_EXPORT(AttentionKeyHeadGrad);

KernelOr MakeAttentionGradKernel(const KernelContext& context) {
  // inputs: q, k, v, o, lse, do [, mask]
  auto shape = MakeAttentionShape(context, 6);
  if (!shape.ok()) return shape.status();
  const int64_t per_thread = (shape->dtype == Dtype::kF64 ? 8 : 4) * AttentionGradScratch(*shape);
  auto scratch = ScratchFor(context, per_thread * context.device.threads);
  if (!scratch.ok()) return scratch.status();
  return MakeKernel([shape = *shape, work = *scratch, per_thread, q = In(context, 0),
                     k = In(context, 1), v = In(context, 2), o = In(context, 3),
                     lse = In(context, 4), d_o = In(context, 5),
                     mask = shape->masked ? In(context, 6) : Address{}, dq = Out(context, 0),
                     dk = Out(context, 1), dv = Out(context, 2),
                     grad = HWY_DYNAMIC_DISPATCH(AttentionKeyHeadGrad),
                     threads = context.device.threads](const KernelArguments& arguments) {
    const AttentionGradPointers pointers{
        {q.at<const void>(arguments), k.at<const void>(arguments), v.at<const void>(arguments),
         shape.masked ? mask.at<const void>(arguments) : nullptr},
        o.at<const void>(arguments),
        lse.at<const void>(arguments),
        d_o.at<const void>(arguments),
        dq.at<void>(arguments),
        dk.at<void>(arguments),
        dv.at<void>(arguments)};
    ParallelFor(threads, shape.b * shape.g, 1, [&](int64_t task, int64_t, int thread) {
      grad(shape, pointers, task / shape.g, task % shape.g,
           work.at<std::byte>(arguments) + thread * per_thread);
    });
  });
}

}  // namespace moai
#endif  // HWY_ONCE
