#include "scheduler/fit.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(FitTest, FitsToTheLastByte) {
  const StepMemory step{.arena = 4096, .fresh = 64};
  EXPECT_TRUE(CheckFits(step, 1000, 5160).ok());
  EXPECT_FALSE(CheckFits(step, 1000, 5159).ok());
  EXPECT_TRUE(CheckUploadFits(5000, 0, 8192).ok());
  EXPECT_FALSE(CheckUploadFits(5000, 1, 8192).ok());
}

TEST(FitTest, RefusalSaysNeededAndAvailableAndWhatWouldDo) {
  const StepMemory step{.arena = 1 << 20, .fresh = 4096};
  const DeviceProfile others[] = {
      {"cpu", 1 << 20, 1}, {"cpu", int64_t{2} << 30, 1}, {"cpu", int64_t{1} << 30, 1}};
  const absl::Status status = CheckFits(step, 8192, 65536, others);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("1052672 bytes"));
  EXPECT_THAT(status.message(), HasSubstr("57344 bytes) are available"));
  EXPECT_THAT(status.message(), HasSubstr("Small.1GB"));
  EXPECT_THAT(CheckFits(step, 8192, 65536).message(), Not(HasSubstr("smallest")));
}

TEST(FitTest, ReadsWell) {
  EXPECT_EQ(ReadableBytes(100), "100 bytes");
  EXPECT_EQ(ReadableBytes(3 << 19), "1.50 MiB");
  EXPECT_EQ(ShortBytes(3 << 19), "1.5MB");
}

}  // namespace
}  // namespace moai
