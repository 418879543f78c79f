#include "server/use_meter.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBegin = std::chrono::hours(5);

UseMeter::Time At(int64_t ms) { return UseMeter::Time(kBegin + milliseconds(ms)); }

TEST(UseMeterTest, IsIdleAtFirst) {
  UseMeter meter;
  EXPECT_EQ(meter.Read(At(0)).utilization, 0);
  EXPECT_TRUE(meter.Read(At(0)).memory_bytes.empty());
}

TEST(UseMeterTest, KnowsTheMemoryOfTheLastNote) {
  UseMeter meter;
  meter.Note({100, 20}, true, At(0));
  meter.Note({70, 30}, false, At(1));
  EXPECT_EQ(meter.Read(At(5000)).memory_bytes, (std::vector<int64_t>{70, 30}));
}

TEST(UseMeterTest, CountsWhatIsBusyStill) {
  UseMeter meter;
  meter.Note({}, true, At(0));
  EXPECT_NEAR(meter.Read(At(500)).utilization, 0.5, 0.06);
  EXPECT_EQ(meter.Read(At(1000)).utilization, 1);
  EXPECT_EQ(meter.Read(At(1000'000)).utilization, 1);
}

TEST(UseMeterTest, AddsShortIntervals) {
  UseMeter meter;
  for (int64_t ms = 0; ms < 3000; ms += 4) {
    meter.Note({}, true, At(ms));
    meter.Note({}, false, At(ms + 1));
  }
  EXPECT_NEAR(meter.Read(At(3000)).utilization, 0.25, 0.01);
}

TEST(UseMeterTest, ForgetsWhatIsOlderThanASecond) {
  UseMeter meter;
  meter.Note({}, true, At(0));
  meter.Note({}, false, At(600));
  EXPECT_NEAR(meter.Read(At(950)).utilization, 0.6, 0.04);
  EXPECT_NEAR(meter.Read(At(1300)).utilization, 0.3, 0.06);
  EXPECT_EQ(meter.Read(At(1600)).utilization, 0);
  EXPECT_EQ(meter.Read(At(60'000)).utilization, 0);
}

}  // namespace
}  // namespace moai
