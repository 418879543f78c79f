// What the collectives mean, on the tensors of all members at once; for interpret_devices.cc.
#ifndef MOAI_GRAPH_REFERENCE_COLLECTIVE_H_
#define MOAI_GRAPH_REFERENCE_COLLECTIVE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/interpreter.h"

namespace moai::reference {

// One member of a group, at a collective.
struct Member {
  const Node& node;
  absl::Span<const int64_t> extents;
  const ReferenceTensor* input = nullptr;  // null for recv
  const TensorType& output;
};

// The result of each member, in their order. Internal, in words that name members by their
// position, where they disagree.
absl::StatusOr<std::vector<ReferenceTensor>> RunCollective(absl::Span<const Member> members);

}  // namespace moai::reference

#endif  // MOAI_GRAPH_REFERENCE_COLLECTIVE_H_
