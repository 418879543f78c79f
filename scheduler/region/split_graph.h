// Cuts what the devices run of two joined graphs (join_graphs.h) into two programs: one that can
// run when the first graph's step arrives, and one for when the second's does.
#ifndef MOAI_SCHEDULER_REGION_SPLIT_GRAPH_H_
#define MOAI_SCHEDULER_REGION_SPLIT_GRAPH_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "program/device_graph.h"

namespace moai {

// Which bindings of the joined graph are known with the second step only, by position. Whatever
// depends on one is late; so is what writes slots.
struct LateBindings {
  std::vector<bool> slots;  // also those that the early part shall not read
  std::vector<bool> values;
  std::vector<bool> feeds;
  std::vector<bool> scalars;
};

struct SplitRequest {
  // What each device runs of the joined graph, stages of a pipeline included. Inputs and outputs
  // have the positions they have there.
  absl::Span<const DeviceGraph> parts;
  LateBindings late;
  size_t early_outputs = 0;           // so many value outputs, the first, belong to the early part
  std::vector<bool> feeds_as_values;  // by feed: bound as a value, so that the step leaves it there
};

// One of the two parts. Its bindings by its own positions, in terms of the joined graph's.
struct RegionHalf {
  enum class Source : uint8_t { kValue, kFeed, kCrossing };
  struct ValueBinding {
    Source source = Source::kValue;
    uint32_t index = 0;  // the joined graph's binding, or a position among what crosses
  };

  std::vector<DeviceGraph> parts;
  std::vector<uint32_t> slots;
  std::vector<ValueBinding> values;
  std::vector<uint32_t> feeds;
  std::vector<uint32_t> scalars;
};

struct SplitGraph {
  // Value outputs of the early part: those asked for, then what crosses. It writes no slot.
  RegionHalf early;
  // Outputs: all others of the joined graph, in their order.
  RegionHalf late;
  // What the late part takes from the early one, by device; as many on each: of what only devices
  // of other stages have, an empty tensor.
  std::vector<std::vector<TensorType>> crossing;
};

// Beside what has to be late, nodes are where less crosses: an optimizer's update takes gradients,
// not what follows from them. Unimplemented where the parts have different structures (stages of a
// pipeline); InvalidArgument where an early output depends on something late.
absl::StatusOr<SplitGraph> SplitRegion(const SplitRequest& request);

}  // namespace moai

#endif  // MOAI_SCHEDULER_REGION_SPLIT_GRAPH_H_
