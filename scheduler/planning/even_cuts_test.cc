#include "scheduler/planning/even_cuts.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

double Largest(absl::Span<const double> places, double total, absl::Span<const size_t> cuts) {
  double begin = 0, largest = 0;
  for (size_t cut : cuts) {
    largest = std::max(largest, places[cut] - begin);
    begin = places[cut];
  }
  return std::max(largest, total - begin);
}

// Of all cuts into so many chunks, from place `next` on.
double LeastLargest(absl::Span<const double> places, double begin, double total, size_t next,
                    uint32_t chunks) {
  if (chunks == 1) return total - begin;
  double least = total;
  for (size_t i = next; i + (chunks - 2) < places.size(); ++i) {
    const double rest = LeastLargest(places, places[i], total, i + 1, chunks - 1);
    least = std::min(least, std::max(places[i] - begin, rest));
  }
  return least;
}

TEST(EvenCuts, KeepTheLargestChunkAsSmallAsCanBe) {
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {
    std::vector<double> places;
    double total = 0;
    const size_t count = random() % 9;
    for (size_t k = 0; k < count; ++k) {
      total += 0.1 + double(random() % 100) * (random() % 4 == 0 ? 10 : 1);
      places.push_back(total);
    }
    total += 0.1 + double(random() % 300);
    const uint32_t chunks = 1 + uint32_t(random() % (count + 1));
    const std::vector<size_t> cuts = EvenCuts(places, total, chunks);
    ASSERT_EQ(cuts.size(), chunks - 1);
    ASSERT_TRUE(std::is_sorted(cuts.begin(), cuts.end()));
    ASSERT_EQ(std::adjacent_find(cuts.begin(), cuts.end()), cuts.end());
    EXPECT_NEAR(Largest(places, total, cuts), LeastLargest(places, 0, total, 0, chunks),
                1e-5 * total);
  }
}

// Layers of 1, which may be cut after a third too, and a last part of its own.
TEST(EvenCuts, DoNotCutLayersForASmallRest) {
  std::vector<double> places;
  for (int layer = 0; layer < 128; ++layer) {
    places.push_back(layer + 1.0 / 3);
    places.push_back(layer + 1);
  }
  const std::vector<size_t> cuts = EvenCuts(places, 128.2, 64);
  ASSERT_EQ(cuts.size(), 63u);
  for (size_t i = 0; i < cuts.size(); ++i) EXPECT_EQ(places[cuts[i]], 2.0 * double(i + 1));
}

TEST(EvenCuts, AreNearEvenSharesWhereOneLargeChunkLeavesRoom) {
  EXPECT_THAT(EvenCuts({10, 11, 12, 13, 14, 15}, 16, 3), ElementsAre(0, 3));
}

TEST(EvenCuts, NeedAPlaceForEach) {
  EXPECT_THAT(EvenCuts({1, 2}, 3, 4), IsEmpty());
  EXPECT_THAT(EvenCuts({1, 2}, 3, 3), ElementsAre(0, 1));
  EXPECT_THAT(EvenCuts({}, 3, 1), IsEmpty());
}

}  // namespace
}  // namespace moai
