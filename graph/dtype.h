// Element types of tensors, shared by every layer.
#ifndef MOAI_GRAPH_DTYPE_H_
#define MOAI_GRAPH_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace moai {

// The numeric values are part of the wire format: append, never renumber.
enum class Dtype : uint8_t {
  kF32 = 1,
  kBF16 = 2,
  kF16 = 3,
  kF64 = 4,
  kI32 = 5,
  kI64 = 6,
  kU8 = 7,
  kBool = 8,  // one byte, 0 or 1
};

inline constexpr Dtype kAllDtypes[] = {Dtype::kF32, Dtype::kBF16, Dtype::kF16, Dtype::kF64,
                                       Dtype::kI32, Dtype::kI64,  Dtype::kU8,  Dtype::kBool};

// True for the values named above; anything else came from a broken or hostile peer.
constexpr bool IsValid(Dtype dtype) { return dtype >= Dtype::kF32 && dtype <= Dtype::kBool; }

// Bytes of one element.
constexpr int64_t ByteSize(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
    case Dtype::kI64:
      return 8;
    case Dtype::kF32:
    case Dtype::kI32:
      return 4;
    case Dtype::kBF16:
    case Dtype::kF16:
      return 2;
    case Dtype::kU8:
    case Dtype::kBool:
      return 1;
  }
  return 0;
}

constexpr bool IsFloat(Dtype dtype) { return dtype >= Dtype::kF32 && dtype <= Dtype::kF64; }
constexpr bool IsInteger(Dtype dtype) { return dtype >= Dtype::kI32 && dtype <= Dtype::kU8; }

// "f32", "bf16", ... as the documentation and error messages write them.
constexpr absl::string_view Name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return "f32";
    case Dtype::kBF16:
      return "bf16";
    case Dtype::kF16:
      return "f16";
    case Dtype::kF64:
      return "f64";
    case Dtype::kI32:
      return "i32";
    case Dtype::kI64:
      return "i64";
    case Dtype::kU8:
      return "u8";
    case Dtype::kBool:
      return "bool";
  }
  return "invalid";
}

// The inverse of Name; nullopt for an unknown name.
constexpr std::optional<Dtype> DtypeFromName(absl::string_view name) {
  for (Dtype dtype : kAllDtypes) {
    if (Name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

}  // namespace moai

#endif  // MOAI_GRAPH_DTYPE_H_
