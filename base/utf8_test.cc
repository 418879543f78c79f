#include "base/utf8.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

TEST(Utf8Test, LeavesValidTextAlone) {
  for (const char* text : {"", "train.py --lr=1e-3", "학습.py", "é", "\xF0\x9F\x98\x80"}) {
    EXPECT_EQ(ValidUtf8(text, 100), text);
  }
}

TEST(Utf8Test, ReplacesWhatIsNoCharacter) {
  EXPECT_EQ(ValidUtf8("a\xFF\x62", 100), "a?b");
  EXPECT_EQ(ValidUtf8("\xC3", 100), "?");       // cut short
  EXPECT_EQ(ValidUtf8("\xC3(", 100), "?(");     // not continued
  EXPECT_EQ(ValidUtf8("\xA9", 100), "?");       // continues nothing
  EXPECT_EQ(ValidUtf8("\xC0\xAF", 100), "??");  // longer than needed
  EXPECT_EQ(ValidUtf8("\xE0\x80\xAF", 100), "???");
  EXPECT_EQ(ValidUtf8("\xED\xA0\x80", 100), "???");       // half of a pair
  EXPECT_EQ(ValidUtf8("\xF4\x90\x80\x80", 100), "????");  // beyond the last
}

TEST(Utf8Test, CutsBetweenCharacters) {
  EXPECT_EQ(ValidUtf8("abc", 2), "ab");
  EXPECT_EQ(ValidUtf8("aéb", 2), "a");
  EXPECT_EQ(ValidUtf8("aéb", 3), "aé");
}

TEST(Utf8Test, CountsCharacters) {
  EXPECT_EQ(Utf8Length(""), 0u);
  EXPECT_EQ(Utf8Length("학습.py"), 5u);
}

}  // namespace
}  // namespace moai
