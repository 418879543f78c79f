// Loads and stores of tile operands, of every dtype, and conversions between registers. Part of
// tile_ops.cc, which includes it once per instruction set.

// Unusual include guard: the file is compiled once per target.
#if defined(MOAI_WORKER_KERNELS_CPU_TILE_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOAI_WORKER_KERNELS_CPU_TILE_MEMORY_INL_H_
#undef MOAI_WORKER_KERNELS_CPU_TILE_MEMORY_INL_H_
#else
#define MOAI_WORKER_KERNELS_CPU_TILE_MEMORY_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/simd_math-inl.h"
#include "worker/kernels/cpu/tile_machine.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

// What a register holds for elements of type T.
template <class T>
using RegisterType = std::conditional_t<kIsFloatType<T>, ComputeType<T>, int64_t>;

// A tile is short and its streams are many: the hardware's prefetchers lose them. So each row asks
// for what the next tile will want, which most often lies right behind it. Worth a factor of two
// where memory is the limit (tile_benchmark).
template <class T>
HWY_INLINE void PrefetchBehind(const T* at, int64_t count) {
  hwy::Prefetch(at + count);
}

// One row of elements in memory <-> registers. Loads may write past `count`, into the padding.
template <class T>
void LoadRow(const T* from, RegisterType<T>* to, int64_t count) {
  if constexpr (kIsFloatType<T>) {
    const ComputeTag<T> d;
    const int64_t step = hn::Lanes(d);
    int64_t i = 0;
    for (; i + step <= count; i += step) {
      PrefetchBehind(from + i, count);
      hn::StoreU(LoadAs(d, from + i), d, to + i);
    }
    if (i < count) hn::StoreU(LoadSome(d, from + i, count - i), d, to + i);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<int64_t>(from[i]);
  }
}

template <class T>
void StoreRow(const RegisterType<T>* from, T* to, int64_t count) {
  if constexpr (kIsFloatType<T>) {
    const ComputeTag<T> d;
    const int64_t step = hn::Lanes(d);
    int64_t i = 0;
    for (; i + step <= count; i += step) {
      __builtin_prefetch(to + i + count, 1);
      StoreAs(hn::LoadU(d, from + i), d, to + i);
    }
    if (i < count) StoreSome(hn::LoadU(d, from + i), d, to + i, count - i);
  } else if constexpr (std::is_same_v<T, bool>) {
    uint8_t* bytes = reinterpret_cast<uint8_t*>(to);
    for (int64_t i = 0; i < count; ++i) bytes[i] = from[i] != 0;
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
  }
}

// Fills `count` elements; writes whole vectors, into the padding.
template <class T>
void FillRow(T value, T* to, int64_t count) {
  if constexpr (std::is_floating_point_v<T>) {
    const hn::ScalableTag<T> d;
    const auto v = hn::Set(d, value);
    for (int64_t i = 0; i < count; i += hn::Lanes(d)) hn::StoreU(v, d, to + i);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = value;
  }
}

template <class T>
void RunLoad(const TileStep& step, const TileFrame& frame) {
  using R = RegisterType<T>;
  const T* from = reinterpret_cast<const T*>(frame.addresses[step.operand]);
  R* to = step.Dst<R>(frame);
  if (step.col_stride == 1 && (frame.rows == 1 || step.row_stride == frame.cols)) {
    return LoadRow(from, to, frame.count);
  }
  if (step.col_stride == 0 && (frame.rows == 1 || step.row_stride == 0)) {
    return FillRow(static_cast<R>(*from), to, frame.count);
  }
  if (step.row_stride == 1 && step.col_stride != 1) {
    // Along memory: columns that lie a power of two apart would evict each other.
    for (int64_t col = 0; col < frame.cols; ++col) {
      for (int64_t row = 0; row < frame.rows; ++row) {
        to[row * frame.cols + col] = static_cast<R>(from[col * step.col_stride + row]);
      }
    }
    return;
  }
  // A row may spill over its end: the next one overwrites that.
  for (int64_t row = 0; row < frame.rows; ++row) {
    if (step.col_stride == 1) {
      LoadRow(from, to, frame.cols);
    } else if (step.col_stride == 0) {
      FillRow(static_cast<R>(*from), to, frame.cols);
    } else {
      for (int64_t col = 0; col < frame.cols; ++col) {
        to[col] = static_cast<R>(from[col * step.col_stride]);
      }
    }
    from += step.row_stride;
    to += frame.cols;
  }
}

template <class T>
void RunStore(const TileStep& step, const TileFrame& frame) {
  using R = RegisterType<T>;
  T* to = reinterpret_cast<T*>(frame.addresses[step.operand]);
  const R* from = step.B<R>(frame);
  if (step.col_stride == 1 && (frame.rows == 1 || step.row_stride == frame.cols)) {
    return StoreRow(from, to, frame.count);
  }
  for (int64_t row = 0; row < frame.rows; ++row) {
    if (step.col_stride == 1) {
      StoreRow(from, to, frame.cols);
    } else {
      for (int64_t col = 0; col < frame.cols; ++col) {
        StoreRow(from + col, to + col * step.col_stride, 1);
      }
    }
    from += frame.cols;
    to += step.row_stride;
  }
}

inline void RunIndex(const TileStep& step, const TileFrame& frame) {
  int64_t* to = step.Dst<int64_t>(frame);
  for (int64_t row = 0; row < frame.rows; ++row) {
    const int64_t first = frame.positions[step.operand] + row * step.row_stride;
    for (int64_t col = 0; col < frame.cols; ++col) *to++ = first + col * step.col_stride;
  }
}

template <class T>
void RunConstant(const TileStep& step, const TileFrame& frame) {
  FillRow(static_cast<T>(step.immediate), step.Dst<T>(frame), frame.count);
}

// ---- Casts --------------------------------------------------------------------------------------

// Truncates; saturates at the bounds of T; NaN gives 0.
template <class T, class F>
int64_t SaturatingInteger(F value) {
  constexpr F kLow = static_cast<F>(std::numeric_limits<T>::min());
  constexpr F kHigh = static_cast<F>(std::numeric_limits<T>::max());
  if (!(value == value)) return 0;
  if (value <= kLow) return std::numeric_limits<T>::min();
  if (value >= kHigh) return std::numeric_limits<T>::max();
  return static_cast<int64_t>(value);
}

// A number of type T, as registers hold it.
template <class T, class From>
RegisterType<T> CastTo(From value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value != 0;
  } else if constexpr (kIsFloatType<T>) {
    return static_cast<RegisterType<T>>(T(static_cast<ComputeType<T>>(value)));
  } else if constexpr (std::is_floating_point_v<From>) {
    return SaturatingInteger<T>(value);
  } else {
    return static_cast<int64_t>(static_cast<T>(value));
  }
}

template <class T, class From>
void RunConvert(const TileStep& step, const TileFrame& frame) {
  const From* a = step.A<From>(frame);
  RegisterType<T>* to = step.Dst<RegisterType<T>>(frame);
  if constexpr ((std::is_same_v<T, BFloat16> ||
                 std::is_same_v<T, Float16>)&&std::is_same_v<From, float>) {
    // There and back through memory of the narrow type, a vector at a time.
    const FloatTag d;
    alignas(64) T narrow[hn::MaxLanes(d)];
    for (int64_t i = 0; i < frame.count; i += hn::Lanes(d)) {
      StoreAs(hn::LoadU(d, a + i), d, narrow);
      hn::StoreU(LoadAs(d, narrow), d, to + i);
    }
  } else {
    for (int64_t i = 0; i < frame.count; ++i) to[i] = CastTo<T>(a[i]);
  }
}

// Calls visitor(TypeTag) with the storage type of a dtype.
template <class T>
struct StorageTag {
  using type = T;
};
template <class Visitor>
TileFunction VisitStorage(Dtype dtype, Visitor visitor) {
  switch (dtype) {
    case Dtype::kF32:
      return visitor(StorageTag<float>());
    case Dtype::kBF16:
      return visitor(StorageTag<BFloat16>());
    case Dtype::kF16:
      return visitor(StorageTag<Float16>());
    case Dtype::kF64:
      return visitor(StorageTag<double>());
    case Dtype::kI32:
      return visitor(StorageTag<int32_t>());
    case Dtype::kI64:
      return visitor(StorageTag<int64_t>());
    case Dtype::kU8:
      return visitor(StorageTag<uint8_t>());
    case Dtype::kBool:
      return visitor(StorageTag<bool>());
  }
  return nullptr;
}

inline TileFunction FindMemoryFunction(const TileInstruction& instruction, Dtype dtype) {
  switch (instruction.code) {
    case TileCode::kLoad:
      return VisitStorage(
          dtype, [](auto tag) -> TileFunction { return &RunLoad<typename decltype(tag)::type>; });
    case TileCode::kStore:
    case TileCode::kReduce:
      return VisitStorage(
          dtype, [](auto tag) -> TileFunction { return &RunStore<typename decltype(tag)::type>; });
    case TileCode::kConvert:
      return VisitStorage(instruction.dtype, [&](auto tag) -> TileFunction {
        using T = typename decltype(tag)::type;
        switch (instruction.from) {
          case TileType::kF32:
            return &RunConvert<T, float>;
          case TileType::kF64:
            return &RunConvert<T, double>;
          case TileType::kI64:
            return &RunConvert<T, int64_t>;
        }
        return nullptr;
      });
    case TileCode::kIndex:
      return &RunIndex;
    case TileCode::kConstant:
      return instruction.type == TileType::kF32   ? &RunConstant<float>
             : instruction.type == TileType::kF64 ? &RunConstant<double>
                                                  : &RunConstant<int64_t>;
    case TileCode::kMultiplyAdd:
    case TileCode::kOp:
      break;
  }
  return nullptr;
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#endif  // MOAI_WORKER_KERNELS_CPU_TILE_MEMORY_INL_H_
