// How a node's extents change where it works on a part: shapes are the part's, positions count from
// where the part begins.
#ifndef MOAI_SCHEDULER_PARTITION_LOCALIZE_H_
#define MOAI_SCHEDULER_PARTITION_LOCALIZE_H_

#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/partition/devices_builder.h"
#include "scheduler/partition/redistribute.h"

namespace moai {

// `whole` are the node's own extents; `types` of every value of its graph. Placements of the node's
// operands have an entry for each axis, time last.
DeviceExtents LocalExtents(const Node& node, absl::Span<const int64_t> whole,
                           absl::Span<const TensorType> types, absl::Span<const Placement> inputs,
                           absl::Span<const Placement> outputs, const Coordinates& at);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_LOCALIZE_H_
