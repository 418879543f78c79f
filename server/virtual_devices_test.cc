#include "server/virtual_devices.h"

#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

class VirtualDevicesTest : public testing::Test {
 protected:
  VirtualDevices Make(std::vector<Flavor> own = {}, int default_devices = 1) {
    return VirtualDevices(&pool_, store_.get(), std::move(own), default_devices);
  }
  uint64_t AddWorker(int devices) {
    return pool_.AddWorker("w", std::vector<DeviceProfile>(size_t(devices), {"cpu", 4 * kGiB, 1}));
  }
  static std::string NameOf(const absl::StatusOr<ChosenFlavor>& chosen) {
    return chosen.ok() ? chosen->flavor.name : chosen.status().ToString();
  }

  Pool pool_;
  std::unique_ptr<Store> store_ = *Store::Open("");
};

TEST_F(VirtualDevicesTest, BeginWithOneOfTheSmallestFlavor) {
  AddWorker(4);
  VirtualDevices devices = Make();
  const auto list = *devices.List("");
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].id, 0u);
  EXPECT_EQ(list[0].flavor.name, "Small.4GB");
  EXPECT_TRUE(list[0].current);
  EXPECT_EQ(NameOf(devices.Current({})), "Small.4GB");
}

TEST_F(VirtualDevicesTest, BeginWithTheDefaultOfTheOperator) {
  AddWorker(4);
  EXPECT_EQ(NameOf(Make({}, 4).Current({})), "Large.16GB");
  // No flavor has three devices: the session gets them all the same.
  EXPECT_EQ(Make({}, 3).Current({})->flavor.devices, 3);
  EXPECT_EQ(NameOf(Make({{"pair", 2, kGiB}, {"quad", 4, kGiB}}).Current({})), "pair");
}

TEST_F(VirtualDevicesTest, KeepTheFlavorThatWasChosen) {
  AddWorker(4);
  ASSERT_TRUE(Make().SwitchFlavor("", 0, "Large.16GB").ok());
  // Another server on the same store.
  VirtualDevices devices = Make();
  const auto chosen = devices.Current({});
  EXPECT_EQ(NameOf(chosen), "Large.16GB");
  EXPECT_EQ(chosen->flavor.devices, 4);
  EXPECT_EQ(chosen->flavor.device_memory_bytes, 4 * kGiB);
}

TEST_F(VirtualDevicesTest, RefuseFlavorsThatThePoolHasNot) {
  VirtualDevices devices = Make({{"one", 1, kGiB}, {"four", 4, kGiB}});
  EXPECT_THAT(std::string(devices.SwitchFlavor("", 0, "one").message()),
              HasSubstr("no worker has registered"));
  AddWorker(2);
  EXPECT_EQ(devices.Listed().size(), 2u);
  EXPECT_EQ(devices.Offered().size(), 1u);
  EXPECT_EQ(devices.SwitchFlavor("", 0, "four").message(),
            "there is no model four now: the server lacks some of its 4 devices; the models are "
            "one");
  EXPECT_EQ(devices.SwitchFlavor("", 0, "five").message(),
            "there is no model five; the models are one");
  EXPECT_THAT(std::string(devices.SwitchFlavor("", 3, "one").message()),
              HasSubstr("no virtual device 3"));
}

TEST_F(VirtualDevicesTest, SayWhatBecameOfAFlavorThatIsGone) {
  const uint64_t small = AddWorker(1);
  const uint64_t large = AddWorker(3);
  ASSERT_TRUE(Make({{"four", 4, kGiB}}).SwitchFlavor("", 0, "four").ok());
  pool_.RemoveWorker(large);
  VirtualDevices devices = Make({{"four", 4, kGiB}, {"one", 1, kGiB}});
  EXPECT_THAT(NameOf(devices.Current({})),
              HasSubstr("the model four needs 4 devices, and the server has 1 now"));
  EXPECT_EQ((*devices.List(""))[0].flavor.name, "four");
  EXPECT_THAT(NameOf(Make({{"one", 1, kGiB}}).Current({})),
              HasSubstr("the model four is not offered any more; choose another"));
  pool_.RemoveWorker(small);
  EXPECT_EQ(devices.Current({}).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(VirtualDevicesTest, AreAddedChosenAndRemoved) {
  AddWorker(4);
  VirtualDevices devices = Make();
  EXPECT_EQ(*devices.Add("", "Medium.8GB"), 1u);
  EXPECT_EQ(*devices.Add("", "Large.16GB"), 2u);
  EXPECT_EQ(NameOf(devices.Current({})), "Small.4GB");
  EXPECT_EQ(NameOf(devices.Current({.visible_device = 2})), "Large.16GB");
  EXPECT_EQ(devices.Current({.visible_device = 2})->virtual_device, 2u);
  EXPECT_THAT(NameOf(devices.Current({.visible_device = 4})), HasSubstr("no virtual device 4"));
  ASSERT_TRUE(devices.SwitchCurrent("", 1).ok());
  EXPECT_EQ(NameOf(devices.Current({})), "Medium.8GB");
  ASSERT_TRUE(devices.Remove("", 1).ok());
  EXPECT_EQ(NameOf(devices.Current({})), "Small.4GB");
  EXPECT_EQ(*devices.Add("", "Large.16GB"), 1u);
  EXPECT_EQ(NameOf(devices.Current({})), "Small.4GB");
  EXPECT_FALSE(devices.SwitchCurrent("", 4).ok());
  EXPECT_FALSE(devices.Remove("", 4).ok());
}

TEST_F(VirtualDevicesTest, AreOneToFive) {
  AddWorker(1);
  VirtualDevices devices = Make();
  EXPECT_EQ(devices.Remove("", 0).message(), "the last virtual device cannot be removed");
  for (uint32_t id = 1; id < 5; ++id) EXPECT_EQ(*devices.Add("", "Small.4GB"), id);
  EXPECT_THAT(std::string(devices.Add("", "Small.4GB").status().message()),
              HasSubstr("you have 5 virtual devices"));
}

}  // namespace
}  // namespace moai
