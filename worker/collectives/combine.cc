// Compiled with -O3: the loops over a tile become vector code.
#include "worker/collectives/combine.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "graph/half.h"

namespace moai {
namespace {

constexpr int64_t kTile = 1024;  // elements that stay in the first-level cache

// How elements lie in memory, and what they are combined as.
template <class T>
struct Plain {
  using Stored = T;
  using Value = T;
  static Value Load(Stored x) { return x; }
  static Stored Store(Value x) { return x; }
};

struct Bfloat16 {
  using Stored = uint16_t;
  using Value = float;
  static Value Load(Stored x) { return Bfloat16ToFloat(x); }
  static Stored Store(Value x) { return FloatToBfloat16(x); }
};

struct Half {
  using Stored = uint16_t;
  using Value = float;
  static Value Load(Stored x) { return HalfToFloat(x); }
  static Stored Store(Value x) { return FloatToHalf(x); }
};

// 0 or 1 in a byte.
struct Bool {
  using Stored = uint8_t;
  using Value = uint8_t;
  static Value Load(Stored x) { return x; }
  static Stored Store(Value x) { return x; }
};

// Integers wrap as unsigned numbers do. Those narrower than int would be promoted to it.
template <class T, class Function>
T Wrapping(T a, T b, Function function) {
  if constexpr (std::is_integral_v<T>) {
    using Wide = std::common_type_t<std::make_unsigned_t<T>, unsigned>;
    return static_cast<T>(function(static_cast<Wide>(a), static_cast<Wide>(b)));
  } else {
    return function(a, b);
  }
}

struct Sum {
  template <class T>
  static T Apply(T a, T b) {
    return Wrapping(a, b, [](auto x, auto y) { return x + y; });
  }
};

struct Prod {
  template <class T>
  static T Apply(T a, T b) {
    return Wrapping(a, b, [](auto x, auto y) { return x * y; });
  }
};

struct Max {
  template <class T>
  static T Apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a != a || a >= b ? a : b;
    } else {
      return a >= b ? a : b;
    }
  }
};

struct Min {
  template <class T>
  static T Apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a != a || a <= b ? a : b;
    } else {
      return a <= b ? a : b;
    }
  }
};

struct And {
  template <class T>
  static T Apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};

struct Or {
  template <class T>
  static T Apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};

template <class Format, class Op>
void CombineTile(absl::Span<const std::byte* const> terms, int64_t begin, int64_t count,
                 std::byte* output) {
  using Stored = typename Format::Stored;
  typename Format::Value sums[kTile];
  const auto* first = reinterpret_cast<const Stored*>(terms[0]) + begin;
  for (int64_t i = 0; i < count; ++i) sums[i] = Format::Load(first[i]);
  for (const std::byte* term : terms.subspan(1)) {
    const auto* next = reinterpret_cast<const Stored*>(term) + begin;
    for (int64_t i = 0; i < count; ++i) sums[i] = Op::Apply(sums[i], Format::Load(next[i]));
  }
  auto* out = reinterpret_cast<Stored*>(output) + begin;
  for (int64_t i = 0; i < count; ++i) out[i] = Format::Store(sums[i]);
}

template <class Format, class Op>
void CombineAll(absl::Span<const std::byte* const> terms, int64_t count, std::byte* output) {
  for (int64_t begin = 0; begin < count; begin += kTile) {
    CombineTile<Format, Op>(terms, begin, std::min(kTile, count - begin), output);
  }
}

using Combiner = void (*)(absl::Span<const std::byte* const>, int64_t, std::byte*);

template <class Format>
Combiner ForNumber(ReduceKind reduce) {
  switch (reduce) {
    case ReduceKind::kSum:
      return CombineAll<Format, Sum>;
    case ReduceKind::kProd:
      return CombineAll<Format, Prod>;
    case ReduceKind::kMax:
      return CombineAll<Format, Max>;
    case ReduceKind::kMin:
      return CombineAll<Format, Min>;
    default:
      return nullptr;
  }
}

template <class Format>
Combiner ForBits(ReduceKind reduce) {
  switch (reduce) {
    case ReduceKind::kAnd:
      return CombineAll<Format, And>;
    case ReduceKind::kOr:
      return CombineAll<Format, Or>;
    default:
      return nullptr;
  }
}

template <class T>
Combiner ForInteger(ReduceKind reduce) {
  const Combiner number = ForNumber<Plain<T>>(reduce);
  return number != nullptr ? number : ForBits<Plain<T>>(reduce);
}

Combiner ForBool(ReduceKind reduce) {
  if (reduce == ReduceKind::kMax) return CombineAll<Bool, Or>;
  if (reduce == ReduceKind::kMin || reduce == ReduceKind::kProd) return CombineAll<Bool, And>;
  return ForBits<Bool>(reduce);
}

Combiner FindCombiner(Dtype dtype, ReduceKind reduce) {
  switch (dtype) {
    case Dtype::kF32:
      return ForNumber<Plain<float>>(reduce);
    case Dtype::kF64:
      return ForNumber<Plain<double>>(reduce);
    case Dtype::kBF16:
      return ForNumber<Bfloat16>(reduce);
    case Dtype::kF16:
      return ForNumber<Half>(reduce);
    case Dtype::kI32:
      return ForInteger<int32_t>(reduce);
    case Dtype::kI64:
      return ForInteger<int64_t>(reduce);
    case Dtype::kU8:
      return ForInteger<uint8_t>(reduce);
    case Dtype::kBool:
      return ForBool(reduce);
  }
  return nullptr;
}

}  // namespace

bool CanCombine(Dtype dtype, ReduceKind reduce) { return FindCombiner(dtype, reduce) != nullptr; }

void Combine(Dtype dtype, ReduceKind reduce, absl::Span<const std::byte* const> terms,
             int64_t count, std::byte* output) {
  FindCombiner(dtype, reduce)(terms, count, output);
}

}  // namespace moai
