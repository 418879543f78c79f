#include "scheduler/planning/local_cluster.h"

#include <gtest/gtest.h>

#include <memory>

#include "scheduler/cost/measured_device.h"

namespace moai {
namespace {

std::shared_ptr<const MeasuredNode> Measured(double flops, double network_bandwidth) {
  MeasuredNode node;
  node.device.peak_flops[size_t(MathKind::kF32)] = flops;
  node.process = {.name = "process", .bandwidth = 8e9, .latency = 1e-6};
  node.host = {.name = "host", .bandwidth = 4 * network_bandwidth, .latency = 1.5e-6};
  node.network = {.name = "network", .bandwidth = network_bandwidth, .latency = 2e-6};
  return std::make_shared<const MeasuredNode>(node);
}

DeviceProfile Device(uint64_t node, std::shared_ptr<const MeasuredNode> measured) {
  return {"cpu", 1 << 30, 1, node, std::move(measured)};
}

TEST(LocalClusterTest, IsWhatTheWorkersMeasured) {
  const auto measured = Measured(5e9, 3e8);
  const Cluster cluster = LocalCluster(std::vector<DeviceProfile>{
      Device(1, measured), Device(1, measured), Device(2, measured), Device(2, measured)});
  EXPECT_TRUE(cluster.device.peak(MathKind::kF32) == 5e9);
  EXPECT_EQ(cluster.device.memory_bytes, 1 << 30);
  ASSERT_EQ(cluster.links.size(), 2u);
  EXPECT_EQ(cluster.links[0].devices, 2);
  EXPECT_EQ(cluster.links[0].bandwidth, 8e9);
  EXPECT_EQ(cluster.links[1].devices, 4);
  EXPECT_EQ(cluster.links[1].bandwidth, 3e8);
}

// Executors use memory only where all of a session can.
TEST(LocalClusterTest, JoinsWorkersOfOneHostByItsMemory) {
  std::vector<DeviceProfile> devices = {Device(1, Measured(5e9, 3e8)),
                                        Device(2, Measured(5e9, 3e8))};
  const auto link = [&](const char* first, const char* second) {
    devices[0].host = first;
    devices[1].host = second;
    return LocalCluster(devices).links.back();
  };
  EXPECT_EQ(link("a", "a").bandwidth, 1.2e9);
  EXPECT_EQ(link("a", "a").devices, 2);
  EXPECT_EQ(link("a", "b").bandwidth, 3e8);
  EXPECT_EQ(link("a", "").bandwidth, 3e8);
  EXPECT_EQ(link("", "").bandwidth, 3e8);
}

TEST(LocalClusterTest, IsAsFastAsTheSlowestDevice) {
  const Cluster cluster = LocalCluster(
      std::vector<DeviceProfile>{Device(1, Measured(9e9, 1e9)), Device(2, Measured(4e9, 2e9))});
  EXPECT_EQ(cluster.device.peak(MathKind::kF32), 4e9);
  EXPECT_EQ(cluster.links.back().bandwidth, 2e9);
}

TEST(LocalClusterTest, AssumesADeviceThatWasNotMeasured) {
  const Cluster assumed = LocalCluster(std::vector<DeviceProfile>{Device(1, nullptr)});
  EXPECT_GT(assumed.device.peak(MathKind::kF32), 1e9);
  const Cluster mixed =
      LocalCluster(std::vector<DeviceProfile>{Device(1, Measured(4e9, 2e9)), Device(2, nullptr)});
  EXPECT_EQ(mixed.device.peak(MathKind::kF32), assumed.device.peak(MathKind::kF32));
}

}  // namespace
}  // namespace moai
