// What a worker keeps of its devices reaches the server with its registration.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/profile/measure_device.h"
#include "worker/profile/measure_links.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

std::string LogOf(const std::string& profiles) {
  auto cluster = Cluster::Start({.worker_flags = {"--profile_directory=" + profiles}});
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  return cluster.ok() ? (*cluster)->Log() : "";
}

TEST(MeasuredProfileTest, IsSentWithTheRegistration) {
  const std::string profiles = ::testing::TempDir() + "/profiles";
  // All figures, two runs each.
  const auto device = LoadOrMeasureDevice(profiles, MakeCpuKernel, {.threads = 1},
                                          {.seconds = 600, .seconds_each = 0});
  ASSERT_TRUE(device.ok()) << device.status();
  ASSERT_TRUE(LoadOrMeasureLinks(profiles, {.seconds_each = 0}).ok());
  const std::string log = LogOf(profiles);
  EXPECT_THAT(log, HasSubstr("worker registered"));
  EXPECT_THAT(log, HasSubstr("measured=true"));
}

TEST(MeasuredProfileTest, MayBeLeftOut) { EXPECT_THAT(LogOf("none"), HasSubstr("measured=false")); }

}  // namespace
}  // namespace moai
