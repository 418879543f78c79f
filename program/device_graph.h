// What one device of a session runs: its part of a partitioned graph. Parts that run the same
// operations share one structure and differ in sizes and groups only.
#ifndef MOAI_PROGRAM_DEVICE_GRAPH_H_
#define MOAI_PROGRAM_DEVICE_GRAPH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "graph/graph.h"
#include "graph/parts.h"

namespace moai {

// Devices of a session, by their position among its devices, in the order of membership.
using DeviceGroup = std::vector<uint32_t>;

// Bindings (slots, values, feeds, outputs) have the positions they have in the whole graph. A
// device that has no part of a binding has an empty tensor for it.
struct DeviceGraph {
  std::shared_ptr<const Graph> graph;
  Sizes sizes;
  // What the attribute `group` of collectives names. Each contains this device.
  std::vector<DeviceGroup> groups;
  // Numbers that the partitioner added: the values of the last scalar inputs, after the client's.
  std::vector<Scalar> constants;
};

}  // namespace moai

#endif  // MOAI_PROGRAM_DEVICE_GRAPH_H_
