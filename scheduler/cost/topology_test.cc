#include "scheduler/cost/topology.h"

#include <gtest/gtest.h>

namespace moai {
namespace {

using Fan = absl::InlinedVector<int64_t, 3>;

Cluster H100Nodes(int64_t nodes) { return ClusterOf(**FindGpuType("H100"), nodes); }

TEST(TopologyTest, BuiltInClustersAreWhole) {
  for (const GpuType& type : GpuTypes()) {
    for (int64_t nodes : {1, 2, 16, 100}) {
      const Cluster cluster = ClusterOf(type, nodes);
      EXPECT_TRUE(CheckCluster(cluster).ok()) << CheckCluster(cluster);
    }
    for (int64_t devices : {1, 2, 3, 6, 16}) {
      const Cluster cluster = ClusterOf(type, 3, devices);
      EXPECT_TRUE(CheckCluster(cluster).ok()) << CheckCluster(cluster);
    }
  }
}

// The fast links of a rack join 18 nodes of 4.
TEST(TopologyTest, ADomainMaySpanNodes) {
  const Cluster rack = ClusterOf(**FindGpuType("GB200"), 18);
  ASSERT_EQ(rack.links.size(), 1u);
  EXPECT_EQ(rack.links[0].devices, 72);
  const Cluster two = ClusterOf(**FindGpuType("GB200"), 36);
  ASSERT_EQ(two.links.size(), 2u);
  EXPECT_EQ(two.links[1].devices, 144);
}

TEST(TopologyTest, GroupsOfAMeshAxis) {
  const Cluster cluster = H100Nodes(4);  // 32 devices
  EXPECT_EQ(StridedGroup(cluster, 1, 8).fan, (Fan{8, 1}));
  EXPECT_EQ(StridedGroup(cluster, 1, 32).fan, (Fan{8, 4}));
  EXPECT_EQ(StridedGroup(cluster, 8, 4).fan, (Fan{1, 4}));
  EXPECT_EQ(StridedGroup(cluster, 2, 16).fan, (Fan{4, 4}));
  EXPECT_EQ(StridedGroup(cluster, 4, 2).fan, (Fan{2, 1}));
  EXPECT_EQ(StridedGroup(cluster, 16, 2).fan, (Fan{1, 2}));
  EXPECT_EQ(StridedGroup(cluster, 1, 1).size(), 1);
}

TEST(TopologyTest, GroupsByMembersAgreeWithStrides) {
  const Cluster cluster = H100Nodes(4);
  for (int64_t stride : {1, 2, 4, 8, 16}) {
    for (int64_t count = 1; count * stride <= 32; count *= 2) {
      std::vector<uint32_t> members;
      for (int64_t i = 0; i < count; ++i) members.push_back(static_cast<uint32_t>(i * stride));
      EXPECT_EQ(GroupOf(cluster, members), StridedGroup(cluster, stride, count))
          << stride << " x " << count;
    }
  }
  // Three in the first node, one in the last.
  EXPECT_EQ(GroupOf(cluster, {0, 5, 7, 31}).fan, (Fan{3, 2}));
}

TEST(TopologyTest, ABrokenClusterIsRefusedInWords) {
  Cluster cluster = H100Nodes(2);
  cluster.links.pop_back();
  EXPECT_NE(CheckCluster(cluster).message().find("its links join 8 of 16 devices"),
            std::string::npos);
  cluster = H100Nodes(2);
  cluster.links[1].devices = 12;
  EXPECT_NE(CheckCluster(cluster).message().find("no multiple of the 8"), std::string::npos);
  cluster = H100Nodes(2);
  cluster.links[0].bandwidth = 0;
  EXPECT_EQ(CheckCluster(cluster).code(), absl::StatusCode::kInvalidArgument);
  cluster = H100Nodes(2);
  cluster.device.memory_bytes = 0;
  EXPECT_EQ(CheckCluster(cluster).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace moai
