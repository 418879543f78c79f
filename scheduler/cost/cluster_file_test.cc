#include "scheduler/cost/cluster_file.h"

#include <gtest/gtest.h>

namespace moai {
namespace {

std::string Message(absl::string_view yaml) {
  const absl::StatusOr<Cluster> cluster = ParseCluster(yaml, "c.yaml");
  if (cluster.ok()) return "";
  EXPECT_EQ(cluster.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(cluster.status().message());
}

TEST(ClusterFileTest, TheExamplesAreRead) {
  const absl::StatusOr<Cluster> h100 = ReadClusterFile("scheduler/cost/testdata/h100x8.yaml");
  ASSERT_TRUE(h100.ok()) << h100.status();
  // What the file writes out is what the type alone gives.
  const Cluster built_in = ClusterOf(**FindGpuType("H100"), 2);
  EXPECT_EQ(h100->device_count(), 16);
  EXPECT_EQ(h100->device.name, "H100");
  ASSERT_EQ(h100->links.size(), built_in.links.size());
  for (size_t i = 0; i < built_in.links.size(); ++i) {
    EXPECT_EQ(h100->links[i].devices, built_in.links[i].devices);
    EXPECT_DOUBLE_EQ(h100->links[i].bandwidth, built_in.links[i].bandwidth);
    EXPECT_DOUBLE_EQ(h100->links[i].efficiency, built_in.links[i].efficiency);
    EXPECT_DOUBLE_EQ(h100->links[i].latency, built_in.links[i].latency);
    EXPECT_DOUBLE_EQ(h100->links[i].all_reduce_gain, built_in.links[i].all_reduce_gain);
    EXPECT_DOUBLE_EQ(h100->links[i].ramp_seconds, built_in.links[i].ramp_seconds);
    EXPECT_DOUBLE_EQ(h100->links[i].ramp_bytes, built_in.links[i].ramp_bytes);
  }
  EXPECT_DOUBLE_EQ(h100->collective_seconds, built_in.collective_seconds);
  EXPECT_DOUBLE_EQ(h100->in_situ, built_in.in_situ);

  const absl::StatusOr<Cluster> cpu = ReadClusterFile("scheduler/cost/testdata/local_cpu.yaml");
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(cpu->device_count(), 8);
  EXPECT_DOUBLE_EQ(cpu->device.peak(MathKind::kBF16), 0.42e12);
  EXPECT_DOUBLE_EQ(cpu->device.memory_bytes, 4e9);
  EXPECT_DOUBLE_EQ(cpu->device.matmul.k_overhead, 16);
}

TEST(ClusterFileTest, ATypeMayBeChanged) {
  const absl::StatusOr<Cluster> cluster =
      ParseCluster("device: {type: H100, memory_GB: 96}\nnodes: 4\n", "c.yaml");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  EXPECT_EQ(cluster->name, "c.yaml");
  EXPECT_EQ(cluster->device_count(), 32);
  EXPECT_DOUBLE_EQ(cluster->device.memory_bytes, 96e9);
  EXPECT_EQ(cluster->links.size(), 2u);
}

TEST(ClusterFileTest, ErrorsNameTheLine) {
  EXPECT_EQ(Message("nodes: 2\ndevices: 8\n").find("c.yaml: line 2: the file has no key 'devices'"),
            0u);
  EXPECT_EQ(Message("device: H101\n").find("c.yaml: line 1: no GPU type is named 'H101'"), 0u);
  EXPECT_EQ(Message("device: H100\nnodes: many\n"),
            "c.yaml: line 2: nodes must be a number, not negative");
  EXPECT_EQ(Message("device: H100\nnodes: 1.5\n"),
            "c.yaml: line 2: nodes must be a whole number of at least 1");
  EXPECT_NE(Message("device: H100\nlinks:\n  - {bandwidth_GBps: 5}\n").find("line 3"),
            std::string::npos);
  EXPECT_NE(Message("device: [\n").find("c.yaml: line"), std::string::npos);
  EXPECT_NE(Message("").find("must be a map"), std::string::npos);
  EXPECT_NE(Message("- 1\n").find("must be a map"), std::string::npos);
  EXPECT_NE(Message("device: {name: cpu}\n").find("no memory bandwidth"), std::string::npos);
  EXPECT_NE(Message("{[1]: 2}\n").find("c.yaml: line"), std::string::npos);
}

TEST(ClusterFileTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ReadClusterFile("/nowhere/cluster.yaml").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace moai
