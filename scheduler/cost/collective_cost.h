// How long collectives take: latency and bandwidth of the links that a group of devices uses, for
// each algorithm a library would choose from; the cheapest counts.
//
// Pure functions; any thread.
#ifndef MOAI_SCHEDULER_COST_COLLECTIVE_COST_H_
#define MOAI_SCHEDULER_COST_COLLECTIVE_COST_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "graph/op.h"
#include "scheduler/cost/topology.h"

namespace moai {

enum class CollectiveKind : uint8_t {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kBroadcast,
  kSendRecv,
};

absl::string_view Name(CollectiveKind kind);
// Of a collective op; nullopt for every other op.
std::optional<CollectiveKind> CollectiveKindOf(Op op);

struct CollectiveCost {
  double seconds = 0;
  // "ring", "tree", "hierarchical", "direct"; empty where nothing is sent.
  absl::string_view algorithm;
};

// `bytes` is the size of one member's tensor where it is whole: the tensor of all_reduce and
// broadcast, the result of all_gather, the input of reduce_scatter, one member's input of
// all_to_all, what send carries. A group of one takes no time. Within a step: the cluster's in_situ
// counts.
CollectiveCost CostOfCollective(const Cluster& cluster, CollectiveKind kind, double bytes,
                                const GroupShape& group);

inline double CollectiveSeconds(const Cluster& cluster, CollectiveKind kind, double bytes,
                                const GroupShape& group) {
  return CostOfCollective(cluster, kind, bytes, group).seconds;
}

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_COLLECTIVE_COST_H_
