#include "graph/random.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::ElementsAre;

// The vectors that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10).
TEST(PhiloxTest, GivesThePublishedAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_THAT(Philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(
      Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(RandomBlockTest, EveryPartOfTheKeyMatters) {
  const RandomKey key{.seed = 7, .offset = 3, .instance = 1};
  const auto high = [](uint64_t low) { return low + (uint64_t{1} << 32); };
  std::set<std::array<uint32_t, 4>> blocks = {
      RandomBlock(key, 0),
      RandomBlock(key, 1),
      RandomBlock(key, high(0)),
      RandomBlock({.seed = 8, .offset = 3, .instance = 1}, 0),
      RandomBlock({.seed = high(7), .offset = 3, .instance = 1}, 0),
      RandomBlock({.seed = 7, .offset = 4, .instance = 1}, 0),
      RandomBlock({.seed = 7, .offset = high(3), .instance = 1}, 0),
      RandomBlock({.seed = 7, .offset = 3, .instance = 2}, 0),
  };
  EXPECT_EQ(blocks.size(), 8u);
  EXPECT_EQ(RandomBlock(key, 5), RandomBlock(key, 5));
}

TEST(UniformTest, StaysBelowOne) {
  EXPECT_EQ(UniformFromBits(0), 0.0f);
  EXPECT_EQ(UniformFromBits(0xffffffff), 1 - 0x1p-24f);
  EXPECT_EQ(UniformFromBits(0x80000000), 0.5f);
}

TEST(NormalTest, IsFiniteAtTheExtremes) {
  EXPECT_EQ(NormalFromBits(0xffffffff, 0, false), 0);
  EXPECT_NEAR(NormalFromBits(0, 0, false), 6.66, 0.01);
  EXPECT_NEAR(NormalFromBits(0, 0x40000000, true), 6.66, 0.01);
}

TEST(DistributionTest, MomentsAreRight) {
  constexpr int kBlocks = 1 << 15;
  double uniform = 0, normal = 0, normal_square = 0, normal_cube = 0;
  for (uint64_t block = 0; block < kBlocks; ++block) {
    const auto bits = RandomBlock({.seed = 42}, block);
    for (int i = 0; i < 4; ++i) {
      uniform += UniformFromBits(bits[i]);
      const double z = NormalFromBits(bits[i & 2], bits[(i & 2) + 1], (i & 1) != 0);
      normal += z;
      normal_square += z * z;
      normal_cube += z * z * z;
    }
  }
  const double count = 4 * kBlocks;
  // About five standard errors each.
  EXPECT_NEAR(uniform / count, 0.5, 0.004);
  EXPECT_NEAR(normal / count, 0, 0.014);
  EXPECT_NEAR(normal_square / count, 1, 0.02);
  EXPECT_NEAR(normal_cube / count, 0, 0.054);
}

}  // namespace
}  // namespace moai
