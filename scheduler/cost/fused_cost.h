// What fusion saves: chains of pointwise ops, casts and views run as one kernel, and the values
// inside a chain never reach memory. A simple image of what program/fusion.cc does, made from the
// graph alone so that a search can ask for millions of costs without compiling.
//
// Pure functions; any thread.
#ifndef MOAI_SCHEDULER_COST_FUSED_COST_H_
#define MOAI_SCHEDULER_COST_FUSED_COST_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/cost/op_cost.h"

namespace moai {

// The nodes of a graph, divided into kernels.
struct KernelGroups {
  // Each group's nodes, ascending; groups in the order of their last node. Every node is in one.
  std::vector<std::vector<uint32_t>> groups;
  std::vector<uint32_t> group_of;  // of each node
  // Of each value: its node, kNoNode for inputs; and whether the graph gives it out.
  std::vector<uint32_t> producer;
  std::vector<bool> given_out;

  static constexpr uint32_t kNoNode = UINT32_MAX;
};

// A node joins the kernel of its readers where all of them are in one kernel that walks as many
// elements as the node makes. Pointwise ops, casts, created values and views join; a reduction may
// be the end of a kernel. `types`: of every value of the graph; the groups hold for any part of the
// graph that is split evenly.
KernelGroups GroupFusedNodes(const Graph& graph, absl::Span<const TensorType> types);

// One group as one kernel, at these types (a device's part, say). A group of views costs nothing.
KernelCost CostOfGroup(const DeviceModel& device, const Graph& graph,
                       absl::Span<const TensorType> types, const KernelGroups& groups,
                       uint32_t group);

// All groups, one after the other; what the host adds to a step is not in it.
KernelCost CostOfGraph(const DeviceModel& device, const Graph& graph,
                       absl::Span<const TensorType> types, const KernelGroups& groups);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_FUSED_COST_H_
