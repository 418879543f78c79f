#include "graph/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

namespace moai {
namespace {

TEST(HalfTest, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
    } else {
      EXPECT_EQ(FloatToHalf(value), half);
    }
    const float wide = Bfloat16ToFloat(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(wide))));
    } else {
      EXPECT_EQ(FloatToBfloat16(wide), half);
    }
  }
}

// Between two neighbours, the nearer one wins; in the middle, the even one.
TEST(HalfTest, RoundsToNearestEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = HalfToFloat(half);
    const float high = HalfToFloat(half + 1);
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(FloatToHalf(middle), half + (half & 1));
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), half);
    EXPECT_EQ(FloatToHalf(-std::nextafter(middle, 1e9f)), 0x8000 | (half + 1));
  }
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToBfloat16(1.00390625f), 0x3f80);  // 1 + 2^-8: a tie
  EXPECT_EQ(FloatToBfloat16(1.01171875f), 0x3f82);  // 1 + 3 * 2^-8: a tie
  EXPECT_EQ(FloatToBfloat16(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace moai
