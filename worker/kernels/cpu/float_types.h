// Storage types of the 16-bit float dtypes, and scalar conversions.
#ifndef MOAI_WORKER_KERNELS_CPU_FLOAT_TYPES_H_
#define MOAI_WORKER_KERNELS_CPU_FLOAT_TYPES_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace moai {

// Sixteen bits in memory. They convert to and from float (round to nearest even) one at a time;
// rows go through LoadAs and StoreAs of simd_math-inl.h.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    bits = static_cast<uint16_t>(std::isnan(value) ? (word | 0x400000u) >> 16
                                                   : (word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

struct Float16 {
  uint16_t bits = 0;

  Float16() = default;
  explicit Float16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const uint32_t sign = word >> 16 & 0x8000;
    const uint32_t magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      bits = static_cast<uint16_t>(sign | 0x7e00);
    } else if (magnitude >= 0x477ff000) {  // rounds to 2^16 or more
      bits = static_cast<uint16_t>(sign | 0x7c00);
    } else if (magnitude < 0x38800000) {
      // Denormal: adding 0.5 lines the bits up and lets the hardware round.
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      bits = static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
    } else {
      const uint32_t odd = magnitude >> 13 & 1;
      bits = static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
    }
  }
  operator float() const {
    const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
    const uint32_t magnitude = bits & 0x7fff;
    if (magnitude >= 0x7c00) {
      return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    }
    if (magnitude < 0x400) {
      const float value = static_cast<float>(magnitude) * 0x1p-24f;
      return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000));
  }
};

template <class T>
inline constexpr bool kIsFloatType =
    std::is_floating_point_v<T> || std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>;

// What kernels compute with: double for double, float for the other floats, the integer itself.
template <class T>
using ComputeType = std::conditional_t<std::is_same_v<T, double>, double,
                                       std::conditional_t<kIsFloatType<T>, float, T>>;

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_FLOAT_TYPES_H_
