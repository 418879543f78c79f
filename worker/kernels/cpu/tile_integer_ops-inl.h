// Pointwise ops on registers of i64, which hold every integer dtype and bool; and random numbers,
// which are made from positions. Part of tile_ops.cc. Integers wrap: they compute unsigned.

// Unusual include guard: the file is compiled once per target.
#if defined(MOAI_WORKER_KERNELS_CPU_TILE_INTEGER_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_TILE_INTEGER_OPS_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_TILE_INTEGER_OPS_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_TILE_INTEGER_OPS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstdint>

#include "graph/random.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/tile_float_ops-inl.h"
#include "worker/kernels/cpu/tile_machine.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

template <class Function>
void RunInteger(const TileStep& step, const TileFrame& frame) {
  const int64_t* HWY_RESTRICT a = step.A<int64_t>(frame);
  const int64_t* HWY_RESTRICT b = step.B<int64_t>(frame);
  int64_t* HWY_RESTRICT to = step.Dst<int64_t>(frame);
  for (int64_t i = 0; i < frame.count; ++i) to[i] = Function()(a[i], b[i]);
}

#define MOAI_INTEGER(Name, expression)                                \
  struct Name {                                                       \
    int64_t operator()(int64_t a, [[maybe_unused]] int64_t b) const { \
      [[maybe_unused]] const uint64_t x = static_cast<uint64_t>(a);   \
      [[maybe_unused]] const uint64_t y = static_cast<uint64_t>(b);   \
      return static_cast<int64_t>(expression);                        \
    }                                                                 \
  };

MOAI_INTEGER(IntegerNegate, 0 - x)
MOAI_INTEGER(IntegerAbsolute, a < 0 ? 0 - x : x)
MOAI_INTEGER(IntegerSign, (a > 0) - (a < 0))
MOAI_INTEGER(IntegerRelu, a > 0 ? a : 0)
MOAI_INTEGER(BitwiseNot, ~x)
MOAI_INTEGER(LogicalNot, a == 0)
MOAI_INTEGER(IntegerAdd, x + y)
MOAI_INTEGER(IntegerSubtract, x - y)
MOAI_INTEGER(IntegerMultiply, x* y)
MOAI_INTEGER(IntegerMaximum, a > b ? a : b)
MOAI_INTEGER(IntegerMinimum, a < b ? a : b)
MOAI_INTEGER(BitwiseAnd, x& y)
MOAI_INTEGER(BitwiseOr, x | y)
MOAI_INTEGER(BitwiseXor, x ^ y)
#undef MOAI_INTEGER

// Truncates toward zero; by 0 gives 0. The least integer by -1 wraps.
struct IntegerDivide {
  int64_t operator()(int64_t a, int64_t b) const {
    if (b == 0) return 0;
    return b == -1 ? IntegerNegate()(a, 0) : a / b;
  }
};

// The sign of the divisor; by 0 gives 0.
struct IntegerModulo {
  int64_t operator()(int64_t a, int64_t b) const {
    if (b == 0 || b == -1) return 0;
    const int64_t remainder = a % b;
    return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
  }
};

inline void RunIntegerClamp(const TileStep& step, const TileFrame& frame) {
  const int64_t* a = step.A<int64_t>(frame);
  const int64_t* low = step.B<int64_t>(frame);
  const int64_t* high = step.C<int64_t>(frame);
  int64_t* to = step.Dst<int64_t>(frame);
  for (int64_t i = 0; i < frame.count; ++i) to[i] = std::min(std::max(a[i], low[i]), high[i]);
}

inline TileFunction FindIntegerFunction(Op op, Dtype dtype) {
  switch (op) {
    case Op::kNeg:
      return &RunInteger<IntegerNegate>;
    case Op::kAbs:
      return &RunInteger<IntegerAbsolute>;
    case Op::kSign:
      return &RunInteger<IntegerSign>;
    case Op::kRelu:
      return &RunInteger<IntegerRelu>;
    case Op::kNot:
      return dtype == Dtype::kBool ? &RunInteger<LogicalNot> : &RunInteger<BitwiseNot>;
    case Op::kAdd:
      return &RunInteger<IntegerAdd>;
    case Op::kSub:
      return &RunInteger<IntegerSubtract>;
    case Op::kMul:
      return &RunInteger<IntegerMultiply>;
    case Op::kDiv:
      return &RunInteger<IntegerDivide>;
    case Op::kMod:
      return &RunInteger<IntegerModulo>;
    case Op::kMaximum:
      return &RunInteger<IntegerMaximum>;
    case Op::kMinimum:
      return &RunInteger<IntegerMinimum>;
    case Op::kEq:
      return &RunCompare<int64_t, Equal>;
    case Op::kNe:
      return &RunCompare<int64_t, NotEqual>;
    case Op::kLt:
      return &RunCompare<int64_t, Less>;
    case Op::kLe:
      return &RunCompare<int64_t, LessOrEqual>;
    case Op::kGt:
      return &RunCompare<int64_t, Greater>;
    case Op::kGe:
      return &RunCompare<int64_t, GreaterOrEqual>;
    case Op::kAnd:
      return &RunInteger<BitwiseAnd>;
    case Op::kOr:
      return &RunInteger<BitwiseOr>;
    case Op::kXor:
      return &RunInteger<BitwiseXor>;
    case Op::kSelect:
      return &RunSelect<int64_t>;
    case Op::kClamp:
      return &RunIntegerClamp;
    default:
      return nullptr;
  }
}

// ---- Random numbers -----------------------------------------------------------------------------

// Blocks made side by side, so that the compiler vectorises over them.
inline constexpr int kRandomBatch = 16;

// RandomBlock (graph/random.h) of kRandomBatch blocks from `first` on; words[i][k] is word i of the
// k-th.
inline void RandomBlocks(const RandomKey& key, uint64_t first, uint32_t words[4][kRandomBatch]) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  uint32_t k0 = static_cast<uint32_t>(key.seed) ^ key.instance * 0x85EBCA6Bu;
  uint32_t k1 = static_cast<uint32_t>(key.seed >> 32) ^ key.instance;
  // Aligned, or g++ 12 faults under AddressSanitizer: it vectorises as if they were.
  alignas(64) uint32_t c0[kRandomBatch];
  alignas(64) uint32_t c1[kRandomBatch];
  alignas(64) uint32_t c2[kRandomBatch];
  alignas(64) uint32_t c3[kRandomBatch];
  for (int k = 0; k < kRandomBatch; ++k) {
    c0[k] = static_cast<uint32_t>(first + k);
    c1[k] = static_cast<uint32_t>((first + k) >> 32);
    c2[k] = static_cast<uint32_t>(key.offset);
    c3[k] = static_cast<uint32_t>(key.offset >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    for (int k = 0; k < kRandomBatch; ++k) {
      const uint64_t p0 = uint64_t{kMultiplier0} * c0[k];
      const uint64_t p1 = uint64_t{kMultiplier1} * c2[k];
      c0[k] = static_cast<uint32_t>(p1 >> 32) ^ c1[k] ^ k0;
      c1[k] = static_cast<uint32_t>(p1);
      c2[k] = static_cast<uint32_t>(p0 >> 32) ^ c3[k] ^ k1;
      c3[k] = static_cast<uint32_t>(p0);
    }
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  std::copy_n(c0, kRandomBatch, words[0]);
  std::copy_n(c1, kRandomBatch, words[1]);
  std::copy_n(c2, kRandomBatch, words[2]);
  std::copy_n(c3, kRandomBatch, words[3]);
}

template <class T, bool kNormal>
T RandomElement(uint32_t word, uint32_t word0, uint32_t word1, bool odd) {
  if constexpr (kNormal) return static_cast<T>(NormalFromBits(word0, word1, odd));
  return static_cast<T>(UniformFromBits(word));
}

// Register a holds positions, which ascend; b and c the seed and the offset in every element.
template <class T, bool kNormal>
void RunRandom(const TileStep& step, const TileFrame& frame) {
  const int64_t* position = step.A<int64_t>(frame);
  const RandomKey key{static_cast<uint64_t>(*step.B<int64_t>(frame)),
                      static_cast<uint64_t>(*step.C<int64_t>(frame)),
                      static_cast<uint32_t>(step.attribute)};
  T* to = step.Dst<T>(frame);
  alignas(64) uint32_t words[4][kRandomBatch];
  uint64_t first = 0;
  bool made = false;
  for (int64_t i = 0; i < frame.count; ++i) {
    const uint64_t element = static_cast<uint64_t>(position[i]), block = element / 4;
    if (!made || block - first >= kRandomBatch) {
      first = block;
      made = true;
      RandomBlocks(key, first, words);
    }
    const int lane = static_cast<int>(element % 4);
    const uint64_t k = block - first;
    to[i] = RandomElement<T, kNormal>(words[lane][k], words[lane & 2][k], words[(lane & 2) + 1][k],
                                      lane & 1);
  }
}

inline TileFunction FindRandomFunction(const TileInstruction& instruction) {
  const bool normal = instruction.op == Op::kRandomNormal;
  if (instruction.type == TileType::kF64) {
    return normal ? &RunRandom<double, true> : &RunRandom<double, false>;
  }
  return normal ? &RunRandom<float, true> : &RunRandom<float, false>;
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_TILE_INTEGER_OPS_INL_H_
