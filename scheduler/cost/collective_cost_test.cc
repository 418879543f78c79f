#include "scheduler/cost/collective_cost.h"

#include <gtest/gtest.h>

#include <cmath>

namespace moai {
namespace {

constexpr double kMB = 1 << 20;

// Links of round numbers: 100 GB/s and 1 us inside blocks of 4, 10 GB/s and 5 us between them.
Cluster Plain(int64_t nodes) {
  Cluster cluster;
  cluster.nodes = nodes;
  cluster.devices_per_node = 4;
  cluster.links = {
      {.name = "fast", .devices = 4, .bandwidth = 100e9, .efficiency = 1, .latency = 1e-6},
      {.name = "network",
       .devices = 4 * nodes,
       .bandwidth = 10e9,
       .efficiency = 1,
       .latency = 5e-6}};
  return cluster;
}

double Seconds(const Cluster& cluster, CollectiveKind kind, double bytes, int64_t stride,
               int64_t count) {
  return CollectiveSeconds(cluster, kind, bytes, StridedGroup(cluster, stride, count));
}

TEST(CollectiveCostTest, FormulasInsideABlock) {
  const Cluster cluster = Plain(1);
  const double bytes = 1e9;
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kAllReduce, bytes, 1, 4),
              2 * 3.0 / 4 * bytes / 100e9 + 2 * 3 * 1e-6, 1e-12);
  for (CollectiveKind kind :
       {CollectiveKind::kAllGather, CollectiveKind::kReduceScatter, CollectiveKind::kAllToAll}) {
    EXPECT_NEAR(Seconds(cluster, kind, bytes, 1, 4), 3.0 / 4 * bytes / 100e9 + 3e-6, 1e-12)
        << Name(kind);
  }
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kBroadcast, bytes, 1, 4), bytes / 100e9 + 3e-6,
              1e-12);
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kSendRecv, bytes, 1, 2), bytes / 100e9 + 1e-6,
              1e-12);
  EXPECT_EQ(Seconds(cluster, CollectiveKind::kAllReduce, bytes, 1, 1), 0);
}

TEST(CollectiveCostTest, SmallTensorsGoUpATree) {
  Cluster cluster = Plain(1);
  cluster.devices_per_node = 16;
  cluster.links = {
      {.name = "fast", .devices = 16, .bandwidth = 100e9, .efficiency = 1, .latency = 1e-6}};
  const GroupShape group = StridedGroup(cluster, 1, 16);
  const CollectiveCost small = CostOfCollective(cluster, CollectiveKind::kAllReduce, 8, group);
  EXPECT_EQ(small.algorithm, "tree");
  EXPECT_NEAR(small.seconds, 2 * 4 * 1e-6, 1e-9);
  EXPECT_EQ(CostOfCollective(cluster, CollectiveKind::kAllReduce, 1e9, group).algorithm, "ring");
}

TEST(CollectiveCostTest, GroupsAcrossNodesUseAllTheirLinks) {
  const Cluster cluster = Plain(8);
  const double bytes = 4e9;
  // One member a node: the network alone.
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kAllReduce, bytes, 4, 8),
              2 * 7.0 / 8 * bytes / 10e9 + 2 * 7 * 5e-6, 1e-9);
  // All 32: four adapters a node. A hierarchy moves 2 * 3/4 B on fast links, 2 * 7/8 B / 4 between
  // nodes; a ring 2 * 31/32 B at 40 GB/s.
  const double hierarchical =
      2 * 0.75 * bytes / 100e9 + 2 * 7.0 / 8 * (bytes / 4) / 10e9 + 2 * 3 * 1e-6 + 2 * 7 * 5e-6;
  const double ring = 2 * 31.0 / 32 * bytes / 40e9 + 2 * (8 * 3 * 1e-6 + 7 * 5e-6);
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kAllReduce, bytes, 1, 32),
              std::min(hierarchical, ring), 1e-9);
  // Short ones save hops.
  EXPECT_EQ(
      CostOfCollective(cluster, CollectiveKind::kAllGather, 1000, StridedGroup(cluster, 1, 32))
          .algorithm,
      "hierarchical");
  // Of the 31 others 3 are neighbours, 28 are in other nodes.
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kAllToAll, bytes, 1, 32),
              28.0 / 32 * bytes / 10e9 + 3 * 1e-6 + 28 * 5e-6, 1e-9);
}

TEST(CollectiveCostTest, InSituSlowsTheTransferOnly) {
  Cluster cluster = Plain(1);
  const double alone = Seconds(cluster, CollectiveKind::kAllGather, 1e9, 1, 4);
  cluster.in_situ = 1.3;
  EXPECT_NEAR(Seconds(cluster, CollectiveKind::kAllGather, 1e9, 1, 4) - 3e-6, 1.3 * (alone - 3e-6),
              1e-12);
}

// dgxc-benchmarking, nccl/README: all_reduce on 8 H100, alone on the machine.
TEST(CollectiveCostTest, PublishedAllReduceOfEightH100) {
  Cluster cluster = ClusterOf(**FindGpuType("H100"), 1);
  cluster.in_situ = 1;
  const struct {
    double bytes, seconds;
  } kMeasured[] = {
      {8, 13e-6}, {kMB, 27e-6}, {16 * kMB, 124e-6}, {128 * kMB, 587e-6}, {1024 * kMB, 4.03e-3}};
  for (const auto& [bytes, seconds] : kMeasured) {
    EXPECT_NEAR(Seconds(cluster, CollectiveKind::kAllReduce, bytes, 1, 8) / seconds, 1, 0.25)
        << bytes;
  }
  // The asymptote of the bus bandwidth, 480 GB/s.
  const double huge = 64 * 1024 * kMB;
  EXPECT_NEAR(2 * 7.0 / 8 * huge / Seconds(cluster, CollectiveKind::kAllReduce, huge, 1, 8), 480e9,
              10e9);
  // autoparallel's tables: all_gather at about 320 GB/s.
  EXPECT_NEAR(7.0 / 8 * 1024 * kMB / Seconds(cluster, CollectiveKind::kAllGather, 1024 * kMB, 1, 8),
              320e9, 32e9);
}

TEST(CollectiveCostTest, MoreBytesAndMoreMembersNeverTakeLess) {
  const Cluster cluster = ClusterOf(**FindGpuType("A100"), 8);
  for (int kind = 0; kind <= static_cast<int>(CollectiveKind::kBroadcast); ++kind) {
    const CollectiveKind k = static_cast<CollectiveKind>(kind);
    for (int64_t count = 2; count <= 64; count *= 2) {
      double before = 0;
      for (double bytes = 1; bytes < 1e11; bytes *= 8) {
        const double seconds = Seconds(cluster, k, bytes, 1, count);
        EXPECT_GT(seconds, before) << Name(k);
        EXPECT_TRUE(std::isfinite(seconds));
        before = seconds;
      }
    }
  }
}

TEST(CollectiveCostTest, OpsOfTheTableHaveTheirKind) {
  EXPECT_EQ(CollectiveKindOf(Op::kAllReduce), CollectiveKind::kAllReduce);
  EXPECT_EQ(CollectiveKindOf(Op::kAdd), std::nullopt);
  for (const OpEntry& entry : AllOps()) {
    EXPECT_EQ(CollectiveKindOf(entry.op).has_value(), entry.op_class == OpClass::kCollective)
        << entry.name;
  }
}

}  // namespace
}  // namespace moai
