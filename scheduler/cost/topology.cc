#include "scheduler/cost/topology.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

namespace moai {
namespace {

// NCCL on NVLink, measured on 8 H100 (dgxc-benchmarking, nccl/README: all_reduce of 8 B 13 us, 1
// MiB 27 us, 16 MiB 124 us, 128 MiB 587 us, 1 GiB 4.03 ms): fitted by hand to within 25 % of each.
constexpr double kCollectiveStart = 6.6e-6;  // base latency in NCCL's own model (tuning.cc)
constexpr double kFastLatency = 1.0e-6;
constexpr double kFastRampSeconds = 105e-6;
constexpr double kFastRampBytes = 28e6;
// InfiniBand or RoCE adapters: NCCL's model has 2.7 to 14 us a hop, by protocol.
constexpr double kNetworkLatency = 5e-6;
constexpr double kNetworkEfficiency = 0.9;  // Calculon's systems/h100_80g_nvl8.json
constexpr double kInSitu = 1.3;
constexpr double kBucketBytes = 64 << 20;  // PyTorch's DDP: 25 MB; Megatron: 40 million elements

}  // namespace

absl::Status CheckCluster(const Cluster& cluster) {
  const auto error = [&](auto... words) {
    return absl::InvalidArgumentError(absl::StrCat("cluster '", cluster.name, "': ", words...));
  };
  constexpr int64_t kMost = 1 << 20;
  if (cluster.nodes < 1 || cluster.devices_per_node < 1 || cluster.nodes > kMost ||
      cluster.devices_per_node > kMost || cluster.device_count() > kMost) {
    return error("needs 1 to ", kMost, " devices, has ", cluster.nodes, " nodes of ",
                 cluster.devices_per_node);
  }
  if (!(cluster.device.memory_bandwidth > 0) || !(cluster.device.memory_fraction > 0)) {
    return error("its devices have no memory bandwidth");
  }
  if (!(cluster.device.memory_bytes > 0)) return error("its devices have no memory");
  if (!(cluster.device.peak(MathKind::kF32) > 0)) {
    return error("its devices have no rate for f32");
  }
  if (!(cluster.in_situ >= 1) || !(cluster.overlap_slowdown >= 1)) {
    return error("in_situ and overlap_slowdown are factors of at least 1");
  }
  int64_t block = 1;
  for (const LinkLevel& level : cluster.links) {
    if (level.devices < block || level.devices % block != 0) {
      return error("link '", level.name, "' joins ", level.devices,
                   " devices, which is no multiple of the ", block, " that the one before joins");
    }
    if (!(level.bandwidth > 0) || !(level.efficiency > 0) || !(level.latency >= 0) ||
        !(level.all_reduce_gain > 0) || !(level.ramp_seconds >= 0) || !(level.ramp_bytes > 0)) {
      return error("link '", level.name, "' needs a positive bandwidth and efficiency");
    }
    block = level.devices;
  }
  if (cluster.device_count() > 1 && block < cluster.device_count()) {
    return error("its links join ", block, " of ", cluster.device_count(), " devices");
  }
  return absl::OkStatus();
}

Cluster ClusterOf(const GpuType& type, int64_t nodes, int64_t devices_per_node) {
  Cluster cluster;
  cluster.device = type.device;
  cluster.nodes = nodes;
  // NVLink domains across nodes are built from nodes of 4.
  const int64_t usual = type.fast_domain > 8 ? 4 : type.fast_domain;
  cluster.devices_per_node = devices_per_node > 0 ? devices_per_node : usual;
  cluster.name = absl::StrCat(nodes, "x", cluster.devices_per_node, " ", type.device.name);
  cluster.collective_seconds = kCollectiveStart;
  cluster.in_situ = kInSitu;
  cluster.bucket_bytes = kBucketBytes;
  const int64_t all = cluster.device_count();
  // A block is whole nodes or divides one.
  int64_t domain = std::min<int64_t>(type.fast_domain, all);
  if (domain > cluster.devices_per_node) domain -= domain % cluster.devices_per_node;
  while (cluster.devices_per_node % domain != 0 && domain % cluster.devices_per_node != 0) --domain;
  cluster.links.push_back({.name = "fast",
                           .devices = domain,
                           .bandwidth = type.fast_bandwidth,
                           .efficiency = type.fast_efficiency,
                           .latency = kFastLatency,
                           .all_reduce_gain = type.all_reduce_gain,
                           .ramp_seconds = kFastRampSeconds,
                           .ramp_bytes = kFastRampBytes});
  if (domain < all) {
    cluster.links.push_back({.name = "network",
                             .devices = (all + domain - 1) / domain * domain,
                             .bandwidth = type.network_bandwidth,
                             .efficiency = kNetworkEfficiency,
                             .latency = kNetworkLatency});
  }
  return cluster;
}

int64_t GroupShape::size() const {
  int64_t product = 1;
  for (int64_t n : fan) product *= n;
  return product;
}

GroupShape StridedGroup(const Cluster& cluster, int64_t stride, int64_t count) {
  GroupShape shape;
  int64_t inside = 1;  // members in a block of the level before
  for (const LinkLevel& level : cluster.links) {
    const int64_t members = std::min(count, std::max<int64_t>(1, level.devices / stride));
    shape.fan.push_back((members + inside - 1) / inside);
    inside = std::max(inside, members);
  }
  return shape;
}

GroupShape GroupOf(const Cluster& cluster, absl::Span<const uint32_t> members) {
  GroupShape shape;
  int64_t block = 1;
  for (const LinkLevel& level : cluster.links) {
    std::map<int64_t, std::set<int64_t>> inner;  // by block of this level, those of the one before
    for (uint32_t member : members) inner[member / level.devices].insert(member / block);
    int64_t most = 1;
    for (const auto& [outer, blocks] : inner) most = std::max<int64_t>(most, blocks.size());
    shape.fan.push_back(most);
    block = level.devices;
  }
  return shape;
}

}  // namespace moai
