#include "base/byte_size.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

int64_t Parse(absl::string_view text) {
  ByteSizeFlag flag{-1};
  std::string error;
  if (!AbslParseFlag(text, &flag, &error)) {
    EXPECT_NE(error.find(std::string(text)), std::string::npos) << error;
    return -1;
  }
  return flag.bytes;
}

TEST(ByteSizeTest, ReadsUnits) {
  EXPECT_EQ(Parse("1000"), 1000);
  EXPECT_EQ(Parse("3KiB"), 3072);
  EXPECT_EQ(Parse("512MB"), int64_t{512} << 20);
  EXPECT_EQ(Parse("4G"), int64_t{4} << 30);
  EXPECT_EQ(Parse("2TiB"), int64_t{2} << 40);
}

TEST(ByteSizeTest, RefusesOtherText) {
  for (const char* text : {"", "GiB", "-1", "1.5GiB", "4XB", "99999999999TiB"}) {
    EXPECT_EQ(Parse(text), -1) << text;
  }
}

TEST(ByteSizeTest, WritesWhatItReads) {
  for (int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{1024}, int64_t{3} << 30, int64_t{1500}}) {
    EXPECT_EQ(Parse(AbslUnparseFlag({bytes})), bytes);
  }
}

}  // namespace
}  // namespace moai
