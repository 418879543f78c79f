// A cluster as the planner sees it: devices of one kind in a row, and the links that join ever
// larger blocks of them. Devices 0, 1, 2 ... of a session stand in this row; the fastest links join
// neighbours. Plain data; cluster_file.h reads it from a file.
#ifndef MOAI_SCHEDULER_COST_TOPOLOGY_H_
#define MOAI_SCHEDULER_COST_TOPOLOGY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "scheduler/cost/device_model.h"
#include "scheduler/cost/gpu_types.h"

namespace moai {

// Links that join blocks of `devices` neighbours. Bandwidths count one direction of one device: as
// all devices of a node send at once, their network bandwidths add up.
struct LinkLevel {
  std::string name;         // "nvlink", "infiniband", for people
  int64_t devices = 1;      // in a block; a multiple of the level's before
  double bandwidth = 0;     // bytes per second, as the maker states it
  double efficiency = 0.9;  // the share that large transfers reach
  double latency = 0;       // seconds of one hop
  // all_reduce where switches add up: how much faster than `bandwidth * efficiency`.
  double all_reduce_gain = 1;
  // A transfer of x bytes takes ramp_seconds * x / (x + ramp_bytes) longer: short ones do not fill
  // the links, and slow protocols with low latency carry them.
  double ramp_seconds = 0;
  double ramp_bytes = 1;
};

struct Cluster {
  std::string name;
  DeviceModel device;
  int64_t nodes = 1;
  int64_t devices_per_node = 1;
  // Innermost first; the last joins all devices. A block may be less than a node (pairs on one
  // PCIe switch) or more (NVLink across the nodes of a rack).
  std::vector<LinkLevel> links;
  // What starting a collective costs, whatever its size: launch, meeting the others.
  double collective_seconds = 0;
  // Collectives of one kind and group that wait for their turn are issued together, up to so many
  // bytes, and start once (NCCL's group calls; buckets of gradients). 0: each by itself.
  double bucket_bytes = 0;
  // Factor on the transfer time of collectives in a step, against the same ones alone on the
  // machine: they share memory, links and processors. vTrain measured about 1.3 (MICRO 2024).
  double in_situ = 1;
  // Factor on the time of kernels while a collective runs on their device. Galvatron measured 1.1
  // to 1.3.
  double overlap_slowdown = 1.15;

  int64_t device_count() const { return nodes * devices_per_node; }
};

// InvalidArgument, in words, where the cluster breaks a rule above: a level that is no multiple of
// the one before, links that do not join all devices, rates that are not positive.
absl::Status CheckCluster(const Cluster& cluster);

// Nodes of a built-in GPU type with its usual links. `devices_per_node` 0: the usual number.
Cluster ClusterOf(const GpuType& type, int64_t nodes, int64_t devices_per_node = 0);

// How a group of devices lies on the levels: fan[l] is how many blocks of level l - 1 that have
// members are joined by a block of level l (of level 0: members). Their product is the group's
// size.
struct GroupShape {
  absl::InlinedVector<int64_t, 3> fan;
  int64_t size() const;
  friend bool operator==(const GroupShape&, const GroupShape&) = default;
};

// `count` devices, `stride` apart, the first at a block's beginning: what a mesh axis makes.
GroupShape StridedGroup(const Cluster& cluster, int64_t stride, int64_t count);
// Any devices. Where blocks have unequal numbers of members, the largest counts. Requires members
// below cluster.device_count().
GroupShape GroupOf(const Cluster& cluster, absl::Span<const uint32_t> members);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_TOPOLOGY_H_
