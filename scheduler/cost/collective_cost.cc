#include "scheduler/cost/collective_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moai {
namespace {

// n members in blocks that one level joins, and that level's links.
struct Hop {
  double n = 1;
  double bandwidth = 0;  // in a step
  double all_reduce_bandwidth = 0;
  double latency = 0;
  double ramp_seconds = 0;
  double ramp_bytes = 1;

  // What a device pays above latency and rate for sending this many bytes.
  double Ramp(double bytes) const { return ramp_seconds * bytes / (bytes + ramp_bytes); }
  double Send(double bytes) const { return bytes / bandwidth + Ramp(bytes); }
};

// The levels at which the group has several members, innermost first.
using Hops = absl::InlinedVector<Hop, 3>;

Hops HopsOf(const Cluster& cluster, const GroupShape& group) {
  Hops hops;
  for (size_t i = 0; i < group.fan.size() && i < cluster.links.size(); ++i) {
    if (group.fan[i] <= 1) continue;
    const LinkLevel& link = cluster.links[i];
    const double bandwidth = link.bandwidth * link.efficiency / cluster.in_situ;
    hops.push_back({.n = static_cast<double>(group.fan[i]),
                    .bandwidth = bandwidth,
                    .all_reduce_bandwidth = bandwidth * link.all_reduce_gain,
                    .latency = link.latency,
                    .ramp_seconds = link.ramp_seconds,
                    .ramp_bytes = link.ramp_bytes});
  }
  return hops;
}

// A ring through all members: the slowest place decides. Where blocks have several members, as
// many rings leave them side by side, each over a device's own links.
struct Ring {
  double n = 1;
  double bandwidth = std::numeric_limits<double>::infinity();
  double all_reduce_bandwidth = std::numeric_limits<double>::infinity();
  double latency = 0;  // of one way round
  double ramp_seconds = 0;
  double ramp_bytes = 1;

  double Ramp(double bytes) const { return ramp_seconds * bytes / (bytes + ramp_bytes); }
};

Ring RingOf(const Hops& hops) {
  Ring ring;
  for (const Hop& hop : hops) {
    ring.bandwidth = std::min(ring.bandwidth, hop.bandwidth * ring.n);
    // Rings through several levels do not profit from switches that add up.
    ring.all_reduce_bandwidth =
        std::min(ring.all_reduce_bandwidth,
                 (hops.size() == 1 ? hop.all_reduce_bandwidth : hop.bandwidth) * ring.n);
    // n members in blocks: n - 1 hops in each block, and one from block to block.
    ring.latency = hop.n * ring.latency + (hop.n - 1) * hop.latency;
    if (hop.ramp_seconds > ring.ramp_seconds) {
      ring.ramp_seconds = hop.ramp_seconds;
      ring.ramp_bytes = hop.ramp_bytes;
    }
    ring.n *= hop.n;
  }
  return ring;
}

double Depth(const Hops& hops) {
  double latency = 0;
  for (const Hop& hop : hops) latency += std::ceil(std::log2(hop.n)) * hop.latency;
  return latency;
}

// All of a block's members scatter, gather or reduce `bytes` among themselves.
double Phase(const Hop& hop, double bytes) {
  return (hop.n - 1) * hop.latency + hop.Send((hop.n - 1) / hop.n * bytes);
}

void Consider(CollectiveCost& best, double seconds, absl::string_view algorithm) {
  if (seconds < best.seconds) best = {seconds, algorithm};
}

void AllReduce(CollectiveCost& best, const Hops& hops, double bytes) {
  const Ring ring = RingOf(hops);
  const double share = 2 * (ring.n - 1) / ring.n * bytes;
  Consider(best, 2 * ring.latency + share / ring.all_reduce_bandwidth + ring.Ramp(share), "ring");
  Consider(best, 2 * Depth(hops) + 2 * bytes / ring.all_reduce_bandwidth + ring.Ramp(2 * bytes),
           "tree");
  if (hops.size() < 2) return;
  // Reduce-scatter up the levels, all_reduce of what is left at the top, gather down.
  double seconds = 0;
  double part = bytes;
  for (size_t i = 0; i + 1 < hops.size(); ++i) {
    seconds += 2 * Phase(hops[i], part);
    part /= hops[i].n;
  }
  CollectiveCost top{std::numeric_limits<double>::infinity(), ""};
  AllReduce(top, {hops.back()}, part);
  Consider(best, seconds + top.seconds, "hierarchical");
}

// all_gather and, backwards, reduce_scatter.
void GatherOrScatter(CollectiveCost& best, const Hops& hops, double bytes) {
  const Ring ring = RingOf(hops);
  const double share = (ring.n - 1) / ring.n * bytes;
  Consider(best, ring.latency + share / ring.bandwidth + ring.Ramp(share), "ring");
  if (hops.size() < 2) return;
  double seconds = 0;
  double part = bytes;
  for (const Hop& hop : hops) {
    seconds += Phase(hop, part);
    part /= hop.n;
  }
  Consider(best, seconds, "hierarchical");
}

// Everybody sends to everybody; the levels carry their shares side by side.
void AllToAll(CollectiveCost& best, const Hops& hops, double bytes) {
  double members = 1;
  for (const Hop& hop : hops) members *= hop.n;
  double latency = 0;
  double slowest = 0;
  double inside = 1;  // members that the levels so far reach
  for (const Hop& hop : hops) {
    const double reached = inside * hop.n;
    latency += (reached - inside) * hop.latency;
    slowest = std::max(slowest, hop.Send((reached - inside) / members * bytes));
    inside = reached;
  }
  Consider(best, latency + slowest, "direct");
}

void Broadcast(CollectiveCost& best, const Hops& hops, double bytes) {
  // A chain through all members, in pieces; or a tree in which the tensor goes whole.
  double chain_latency = 0;
  double slowest = 0;
  double tree = 0;
  for (const Hop& hop : hops) {
    chain_latency = hop.n * chain_latency + (hop.n - 1) * hop.latency;
    slowest = std::max(slowest, hop.Send(bytes));
    tree += std::ceil(std::log2(hop.n)) * (hop.latency + hop.Send(bytes));
  }
  Consider(best, chain_latency + slowest, "ring");
  Consider(best, tree, "tree");
}

}  // namespace

absl::string_view Name(CollectiveKind kind) {
  constexpr absl::string_view kNames[] = {"all_reduce", "all_gather", "reduce_scatter",
                                          "all_to_all", "broadcast",  "send_recv"};
  return kNames[static_cast<size_t>(kind)];
}

std::optional<CollectiveKind> CollectiveKindOf(Op op) {
  switch (op) {
    case Op::kAllReduce:
      return CollectiveKind::kAllReduce;
    case Op::kAllGather:
      return CollectiveKind::kAllGather;
    case Op::kReduceScatter:
      return CollectiveKind::kReduceScatter;
    case Op::kAllToAll:
      return CollectiveKind::kAllToAll;
    case Op::kBroadcastFromFirst:
      return CollectiveKind::kBroadcast;
    case Op::kSend:
    case Op::kRecv:
      return CollectiveKind::kSendRecv;
    default:
      return std::nullopt;
  }
}

CollectiveCost CostOfCollective(const Cluster& cluster, CollectiveKind kind, double bytes,
                                const GroupShape& group) {
  const Hops hops = HopsOf(cluster, group);
  if (hops.empty()) return {};
  CollectiveCost best{std::numeric_limits<double>::infinity(), ""};
  switch (kind) {
    case CollectiveKind::kAllReduce:
      AllReduce(best, hops, bytes);
      break;
    case CollectiveKind::kAllGather:
    case CollectiveKind::kReduceScatter:
      GatherOrScatter(best, hops, bytes);
      break;
    case CollectiveKind::kAllToAll:
      AllToAll(best, hops, bytes);
      break;
    case CollectiveKind::kBroadcast:
      Broadcast(best, hops, bytes);
      break;
    case CollectiveKind::kSendRecv:
      best = {hops.back().latency + hops.back().Send(bytes), "direct"};
      break;
  }
  best.seconds += cluster.collective_seconds;
  return best;
}

}  // namespace moai
