#include "scheduler/flavors.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

std::vector<DeviceProfile> Devices(const std::vector<int64_t>& gigabytes) {
  std::vector<DeviceProfile> devices;
  for (int64_t size : gigabytes) devices.push_back({"cpu", size * kGiB, 1});
  return devices;
}

std::vector<std::string> Names(const std::vector<Flavor>& flavors) {
  std::vector<std::string> names;
  for (const Flavor& flavor : flavors) names.push_back(flavor.name);
  return names;
}

TEST(FlavorsTest, HaveTheNamesThatUsersKnow) {
  const std::vector<std::pair<int, std::string>> known = {
      {1, "Small.64GB"},        {2, "Medium.128GB"},     {4, "Large.256GB"},
      {8, "xLarge.512GB"},      {12, "1.5xLarge.768GB"}, {16, "2xLarge.1024GB"},
      {24, "3xLarge.1536GB"},   {32, "4xLarge.2048GB"},  {48, "6xLarge.3072GB"},
      {64, "8xLarge.4096GB"},   {96, "12xLarge.6144GB"}, {192, "24xLarge.12288GB"},
      {384, "48xLarge.24576GB"}};
  for (const auto& [devices, name] : known) {
    EXPECT_EQ(StandardFlavorName(devices, 64 * kGiB), name);
  }
  EXPECT_EQ(StandardFlavorName(2, kGiB / 4), "Medium.512MB");
  EXPECT_EQ(StandardFlavorName(1, kGiB * 3 / 2), "Small.1.5GB");
}

TEST(FlavorsTest, DoubleUpToWhatThePoolHas) {
  EXPECT_THAT(FlavorsOfPool({}), testing::IsEmpty());
  EXPECT_THAT(Names(FlavorsOfPool(Devices({4}))), testing::ElementsAre("Small.4GB"));
  EXPECT_THAT(Names(FlavorsOfPool(Devices({4, 4, 4}))),
              testing::ElementsAre("Small.4GB", "Medium.8GB"));
  const std::vector<Flavor> flavors = FlavorsOfPool(Devices(std::vector<int64_t>(16, 4)));
  EXPECT_THAT(Names(flavors), testing::ElementsAre("Small.4GB", "Medium.8GB", "Large.16GB",
                                                   "xLarge.32GB", "2xLarge.64GB"));
  EXPECT_EQ(flavors.back().devices, 16);
  EXPECT_EQ(flavors.back().memory_bytes(), 64 * kGiB);
}

TEST(FlavorsTest, OfUnequalDevicesTakeTheLargestFirst) {
  const std::vector<DeviceProfile> pool = Devices({2, 8, 4, 1});
  const std::vector<Flavor> flavors = FlavorsOfPool(pool);
  EXPECT_THAT(Names(flavors), testing::ElementsAre("Small.8GB", "Medium.8GB", "Large.4GB"));
  EXPECT_EQ(flavors[1].device_memory_bytes, 4 * kGiB);
  for (const Flavor& flavor : flavors) EXPECT_TRUE(PoolHas(pool, flavor)) << flavor.name;
}

TEST(FlavorsTest, ArePossibleWhereEnoughDevicesAreLargeEnough) {
  const std::vector<DeviceProfile> pool = Devices({2, 8, 4});
  EXPECT_TRUE(PoolHas(pool, {"a", 2, 4 * kGiB}));
  EXPECT_FALSE(PoolHas(pool, {"a", 3, 4 * kGiB}));
  EXPECT_FALSE(PoolHas(pool, {"a", 1, 9 * kGiB}));
  EXPECT_FALSE(PoolHas({}, {"a", 1, kGiB}));
}

TEST(FlavorsTest, AreFoundByName) {
  const std::vector<Flavor> flavors = FlavorsOfPool(Devices({4, 4}));
  ASSERT_NE(FindFlavor(flavors, "Medium.8GB"), nullptr);
  EXPECT_EQ(FindFlavor(flavors, "Medium.8GB")->devices, 2);
  EXPECT_EQ(FindFlavor(flavors, "medium"), nullptr);
}

TEST(FlavorsTest, OfAnOperatorAreChecked) {
  EXPECT_TRUE(CheckFlavors({{"one", 1, kGiB}, {"two", 2, kGiB}}).ok());
  const auto message = [](std::vector<Flavor> flavors) {
    return std::string(CheckFlavors(flavors).message());
  };
  EXPECT_THAT(message({}), HasSubstr("0 flavors"));
  EXPECT_THAT(message({{"a b", 1, kGiB}}), HasSubstr("printable"));
  EXPECT_THAT(message({{"a", 1, kGiB}, {"a", 2, kGiB}}), HasSubstr("the name a is taken"));
  EXPECT_THAT(message({{"a", 0, kGiB}}), HasSubstr("0 devices"));
  EXPECT_THAT(message({{"a", 1, 0}}), HasSubstr("no device memory"));
}

}  // namespace
}  // namespace moai
