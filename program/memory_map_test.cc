#include "program/memory_map.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace moai {
namespace {

constexpr int64_t kAlignment = 64;

std::vector<Lifetime> RandomLifetimes(int count, uint32_t instructions, std::mt19937& random) {
  std::vector<Lifetime> lifetimes;
  for (int i = 0; i < count; ++i) {
    const uint32_t first = random() % instructions;
    const uint32_t length = random() % 4 == 0 ? random() % instructions : random() % 8;
    lifetimes.push_back({.bytes = random() % 10 == 0 ? 0 : int64_t(random() % 5000),
                         .first = first,
                         .last = std::min(instructions - 1, first + length)});
  }
  return lifetimes;
}

// Bytes alive at the busiest instruction: no placement can do with less.
int64_t PeakBytes(const std::vector<Lifetime>& lifetimes, uint32_t instructions) {
  std::vector<int64_t> change(instructions + 1, 0);
  for (const Lifetime& lifetime : lifetimes) {
    const int64_t bytes = (lifetime.bytes + kAlignment - 1) / kAlignment * kAlignment;
    change[lifetime.first] += bytes;
    change[lifetime.last + 1] -= bytes;
  }
  int64_t now = 0, peak = 0;
  for (int64_t c : change) peak = std::max(peak, now += c);
  return peak;
}

void ExpectDisjoint(const std::vector<Lifetime>& lifetimes, const Placement& placement) {
  ASSERT_EQ(placement.offsets.size(), lifetimes.size());
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    EXPECT_EQ(placement.offsets[i] % kAlignment, 0);
    EXPECT_GE(placement.offsets[i], 0);
    EXPECT_LE(placement.offsets[i] + lifetimes[i].bytes, placement.bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool together =
          lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last;
      const bool overlap = placement.offsets[i] < placement.offsets[j] + lifetimes[j].bytes &&
                           placement.offsets[j] < placement.offsets[i] + lifetimes[i].bytes;
      ASSERT_FALSE(together && overlap) << i << " and " << j;
    }
  }
}

TEST(MemoryMapTest, LiveBuffersNeverOverlap) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    const uint32_t instructions = 1 + random() % 200;
    const auto lifetimes = RandomLifetimes(random() % 200, instructions, random);
    ExpectDisjoint(lifetimes, PlaceLifetimes(lifetimes, kAlignment));
  }
}

TEST(MemoryMapTest, ManyBuffersAreStillDisjoint) {
  std::mt19937 random(2);
  // More than the search by size takes.
  const auto lifetimes = RandomLifetimes(5000, 2000, random);
  ExpectDisjoint(lifetimes, PlaceLifetimes(lifetimes, kAlignment));
}

TEST(MemoryMapTest, WastesLittle) {
  std::mt19937 random(3);
  double used = 0, needed = 0;
  for (int round = 0; round < 20; ++round) {
    const auto lifetimes = RandomLifetimes(500, 300, random);
    used += static_cast<double>(PlaceLifetimes(lifetimes, kAlignment).bytes);
    needed += static_cast<double>(PeakBytes(lifetimes, 300));
  }
  EXPECT_LT(used, 1.1 * needed);
}

TEST(MemoryMapTest, BuffersThatNeverMeetShareMemory) {
  const std::vector<Lifetime> lifetimes = {{1000, 0, 1}, {1000, 2, 3}, {1000, 4, 5}};
  EXPECT_EQ(PlaceLifetimes(lifetimes, kAlignment).bytes, 1024);
}

TEST(MemoryMapTest, NothingTakesNothing) { EXPECT_EQ(PlaceLifetimes({}, kAlignment).bytes, 0); }

}  // namespace
}  // namespace moai
