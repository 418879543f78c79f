// What one device of a session runs: its part of a partitioned graph. Parts that run the same
// operations share one structure and differ in sizes and groups only.
#ifndef MOAI_PROGRAM_DEVICE_GRAPH_H_
#define MOAI_PROGRAM_DEVICE_GRAPH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "graph/graph.h"

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

// How many of `n` units part `index` of `parts` has: as even as can be, the first parts get one
// more. Part 0 is never smaller than another.
constexpr int64_t PartOf(int64_t n, int64_t parts, int64_t index) {
  return n / parts + (index < n % parts ? 1 : 0);
}
// The first unit of that part.
constexpr int64_t PartBegin(int64_t n, int64_t parts, int64_t index) {
  return n / parts * index + (index < n % parts ? index : n % parts);
}

}  // namespace moai

#endif  // MOAI_PROGRAM_DEVICE_GRAPH_H_
