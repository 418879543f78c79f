#include "worker/profile/measure_links.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace moai {
namespace {

// One short transfer each.
LinkOptions Short() { return {.seconds_each = 0, .most_bytes = 64 << 10}; }

void ExpectPositive(const LinkMeasurement& link) {
  EXPECT_GT(link.latency_us, 0);
  EXPECT_GT(link.gather_gb_per_s, 0);
  EXPECT_GT(link.reduce_gb_per_s, 0);
}

TEST(MeasureLinksTest, EveryRateIsThere) {
  const auto links = MeasureLinks(Short());
  ASSERT_TRUE(links.ok()) << links.status();
  ExpectPositive(links->process);
  ExpectPositive(links->host);
  ExpectPositive(links->network);
  EXPECT_EQ(LinksFromJson(ToJson(*links)).value(), *links);
}

// A transfer cannot be faster than the throttle lets it.
TEST(MeasureLinksTest, AThrottledLinkIsAsSlowAsStated) {
  LinkOptions options = Short();
  options.throttle = {.bytes_per_second = 1e7, .latency_us = 1000, .in_process = true};
  const auto links = MeasureLinks(options);
  ASSERT_TRUE(links.ok()) << links.status();
  for (const LinkMeasurement& link : {links->process, links->host, links->network}) {
    EXPECT_GE(link.latency_us, 1000);
    // What is taken off for the latency may be more than there was of it.
    EXPECT_LE(link.gather_gb_per_s, 0.1);
    EXPECT_LE(link.reduce_gb_per_s, 0.1);
  }
}

TEST(MeasureLinksTest, IsKeptByThrottle) {
  const std::string directory = testing::TempDir() + "/links";
  const auto first = LoadOrMeasureLinks(directory, Short());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(LoadOrMeasureLinks(directory, Short()).value(), *first);
  LinkOptions throttled = Short();
  throttled.throttle.latency_us = 1;
  const auto other = LoadOrMeasureLinks(directory, throttled);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(LoadOrMeasureLinks(directory, Short()).value(), *first);
  EXPECT_EQ(LoadOrMeasureLinks(directory, throttled).value(), *other);
  // A broken file costs a measurement.
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    std::ofstream(file.path()) << "{\"version\": 3, \"process\": 3}";
  }
  EXPECT_TRUE(LoadOrMeasureLinks(directory, Short()).ok());
}

TEST(MeasureLinksTest, RefusesRatesThatAreNone) {
  LinksMeasurement links{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  EXPECT_TRUE(LinksFromJson(ToJson(links)).ok());
  links.network.latency_us = 0;
  EXPECT_FALSE(LinksFromJson(ToJson(links)).ok());
  EXPECT_FALSE(LinksFromJson("").ok());
  EXPECT_FALSE(LinksFromJson("[]").ok());
}

}  // namespace
}  // namespace moai
