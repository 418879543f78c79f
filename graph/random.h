// Counter-based random numbers (Philox 4x32-10; Salmon et al., SC'11), shared by the interpreter
// and every kernel, so that an element's value depends on its global index and on nothing else.
#ifndef MOAI_GRAPH_RANDOM_H_
#define MOAI_GRAPH_RANDOM_H_

#include <array>
#include <cmath>
#include <cstdint>

namespace moai {

// The key of one random op in one step.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t offset = 0;    // grows from step to step
  uint32_t instance = 0;  // which random op of the program
};

// The generator itself: 128 random bits for each counter and key.
constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{kMultiplier0} * counter[0];
    const uint64_t p1 = uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

// 128 random bits for block `block`. Elements 4 * block .. 4 * block + 3 take one word each
// (word i of block e / 4 for element e with i = e % 4).
constexpr std::array<uint32_t, 4> RandomBlock(const RandomKey& key, uint64_t block) {
  return Philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                     static_cast<uint32_t>(key.offset), static_cast<uint32_t>(key.offset >> 32)},
                    {static_cast<uint32_t>(key.seed) ^ key.instance * 0x85EBCA6Bu,
                     static_cast<uint32_t>(key.seed >> 32) ^ key.instance});
}

// Uniform in [0, 1): the upper 24 bits, exact in f32.
constexpr float UniformFromBits(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// Standard normal by Box and Muller; elements 2i and 2i + 1 of a block share two words.
// `odd` picks the sine. Computed in double, so that every device agrees to rounding.
inline double NormalFromBits(uint32_t bits0, uint32_t bits1, bool odd) {
  const double u = (static_cast<double>(bits0) + 1.0) * 0x1p-32;  // (0, 1]
  const double angle = 6.283185307179586476925 * static_cast<double>(bits1) * 0x1p-32;
  const double radius = std::sqrt(-2.0 * std::log(u));
  return radius * (odd ? std::sin(angle) : std::cos(angle));
}

}  // namespace moai

#endif  // MOAI_GRAPH_RANDOM_H_
