#include "server/store.h"

#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

std::string FreshPath(const std::string& name) {
  const std::string path = testing::TempDir() + "/" + name;
  std::remove(path.c_str());
  return path;
}

TEST(StoreTest, KeepsIdentitiesApart) {
  auto store = Store::Open("");
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT(*(*store)->Devices("ada"), testing::IsEmpty());
  EXPECT_EQ(*(*store)->CurrentDevice("ada"), std::nullopt);
  ASSERT_TRUE((*store)->PutDevice("ada", {1, "Large"}).ok());
  ASSERT_TRUE((*store)->PutDevice("ada", {0, "Small"}).ok());
  ASSERT_TRUE((*store)->PutDevice("bob", {0, "Medium"}).ok());
  ASSERT_TRUE((*store)->SetCurrentDevice("ada", 1).ok());
  const auto devices = *(*store)->Devices("ada");
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].id, 0u);
  EXPECT_EQ(devices[0].flavor, "Small");
  EXPECT_EQ(devices[1].flavor, "Large");
  EXPECT_EQ(*(*store)->CurrentDevice("ada"), 1u);
  EXPECT_EQ(*(*store)->CurrentDevice("bob"), std::nullopt);
}

TEST(StoreTest, ReplacesAndRemoves) {
  auto store = Store::Open("");
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->PutDevice("", {0, "Small"}).ok());
  ASSERT_TRUE((*store)->PutDevice("", {0, "it's \"large\""}).ok());
  EXPECT_EQ((*(*store)->Devices(""))[0].flavor, "it's \"large\"");
  ASSERT_TRUE((*store)->RemoveDevice("", 0).ok());
  EXPECT_TRUE((*store)->RemoveDevice("", 7).ok());
  EXPECT_THAT(*(*store)->Devices(""), testing::IsEmpty());
}

TEST(StoreTest, OutlivesTheProcessAndIsReadByItsOwnerOnly) {
  const std::string path = FreshPath("outlives.db");
  {
    auto store = Store::Open(path);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->PutDevice("", {3, "Large"}).ok());
    ASSERT_TRUE((*store)->SetCurrentDevice("", 3).ok());
  }
  struct stat file;
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  auto store = Store::Open(path);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*(*store)->Devices(""))[0].flavor, "Large");
  EXPECT_EQ(*(*store)->CurrentDevice(""), 3u);
}

TEST(StoreTest, BelongsToOneServerAtATime) {
  const std::string path = FreshPath("one.db");
  auto store = Store::Open(path);
  ASSERT_TRUE(store.ok()) << store.status();
  const absl::Status second = Store::Open(path).status();
  EXPECT_THAT(std::string(second.message()), HasSubstr("another server uses it"));
  EXPECT_THAT(std::string(second.message()), HasSubstr(path));
}

TEST(StoreTest, SaysWhatIsWrongWithAFile) {
  EXPECT_THAT(std::string(Store::Open("/no/such/folder/state.db").status().message()),
              HasSubstr("/no/such/folder/state.db: unable to open"));
  const std::string path = FreshPath("text.db");
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_THAT(std::string(Store::Open(path).status().message()), HasSubstr("not a database"));
}

}  // namespace
}  // namespace moai
