// The reference interpreter for the parts of a partitioned graph: several devices at once, which
// meet at their collectives. The oracle of tests; nothing else uses it.
#ifndef MOAI_GRAPH_INTERPRET_DEVICES_H_
#define MOAI_GRAPH_INTERPRET_DEVICES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "graph/interpreter.h"

namespace moai {

// What one device runs. The graph and the groups outlive the call.
struct DeviceRun {
  const Graph* graph = nullptr;
  absl::Span<const int64_t> sizes;
  // What the attribute `group` of collectives names: devices by their position among the runs, in
  // the order of membership. Null where the graph has no collectives.
  const std::vector<std::vector<uint32_t>>* groups = nullptr;
  std::vector<ReferenceTensor> bindings;  // one for each graph input
};

// Runs every device up to its next collective; one whose members all stand at it is carried out,
// and so on. Members meet in the order in which each one's graph names the group; reductions
// combine in the order of membership. Returns the outputs of each device's graph.
//
// Errors name the device and the node. InvalidArgument: as Interpret, on any device, for all.
// Internal: a defect of the partitioner; devices wait for each other for ever, members disagree on
// what to do or on types, or a part is not what PartOf (parts.h) gives its member. Thread-safe.
absl::StatusOr<std::vector<std::vector<ReferenceTensor>>> InterpretDevices(
    absl::Span<const DeviceRun> runs, const InterpreterOptions& options = {});

}  // namespace moai

#endif  // MOAI_GRAPH_INTERPRET_DEVICES_H_
