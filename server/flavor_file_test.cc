#include "server/flavor_file.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

TEST(FlavorFileTest, GivesTheListInItsOrder) {
  const auto flavors = ParseFlavors(R"(
# what this cluster offers
flavors:
  - name: Small.64GB
    devices: 1
    memory: 64GiB
  - {name: 1.5xLarge.768GB, devices: 12, memory: 64GiB}
)",
                                    "flavors.yaml");
  ASSERT_TRUE(flavors.ok()) << flavors.status();
  ASSERT_EQ(flavors->size(), 2u);
  EXPECT_EQ((*flavors)[0].name, "Small.64GB");
  EXPECT_EQ((*flavors)[0].device_memory_bytes, int64_t{64} << 30);
  EXPECT_EQ((*flavors)[1].name, "1.5xLarge.768GB");
  EXPECT_EQ((*flavors)[1].devices, 12);
}

TEST(FlavorFileTest, SaysWhereAFileIsWrong) {
  const auto message = [](const std::string& text) {
    return std::string(ParseFlavors(text, "f.yaml").status().message());
  };
  EXPECT_THAT(message(""), HasSubstr("f.yaml: has no list \"flavors\""));
  EXPECT_THAT(message("flavors: 3"), HasSubstr("has no list"));
  EXPECT_THAT(message("flavors: []"), HasSubstr("0 flavors"));
  EXPECT_THAT(message("flavors:\n  - x"), HasSubstr("f.yaml:2: a flavor is a map"));
  EXPECT_THAT(message("flavors:\n  - {name: a, devices: 1}"),
              HasSubstr("f.yaml:2: a flavor needs a memory"));
  EXPECT_THAT(message("flavors:\n  - name: a\n    devices: many\n    memory: 1GiB"),
              HasSubstr("f.yaml:3: devices: \"many\" is no number"));
  EXPECT_THAT(message("flavors:\n  - {name: a, devices: 1, memory: big}"),
              HasSubstr("memory: \"big\""));
  EXPECT_THAT(message("flavors:\n  - {name: a, devices: 1, memory: 1GiB, gpus: 4}"),
              HasSubstr("no \"gpus\""));
  EXPECT_THAT(message("flavors:\n  - [1, 2"), HasSubstr("f.yaml:"));
  EXPECT_THAT(message("flavors:\n  - {name: a, devices: 0, memory: 1GiB}"),
              HasSubstr("flavor a: 0 devices"));
}

TEST(FlavorFileTest, SaysThatThereIsNoFile) {
  EXPECT_THAT(std::string(ReadFlavorFile("/no/such/file.yaml").status().message()),
              HasSubstr("/no/such/file.yaml: cannot be read"));
}

}  // namespace
}  // namespace moai
