// What each device holds of a reference tensor, and back: for tests.
#ifndef MOAI_SCHEDULER_PARTITION_TESTING_CUT_H_
#define MOAI_SCHEDULER_PARTITION_TESTING_CUT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "graph/interpreter.h"
#include "scheduler/placement.h"

namespace moai {

// The part of one device. The layout has no Partial.
ReferenceTensor CutFor(const ReferenceTensor& whole, const Layout& layout, int64_t device);

// The whole of the parts, by device. An error where devices disagree on an element by more than
// `tolerance` (relative to 1 + its magnitude), or one is nowhere.
absl::StatusOr<ReferenceTensor> JoinParts(const std::vector<ReferenceTensor>& parts,
                                          const TensorType& type, const Layout& layout,
                                          double tolerance);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_TESTING_CUT_H_
