// Cross entropy where the classes are split: each device has the logits of a range of them for all
// rows, as Megatron-LM does (Shoeybi et al., arXiv 1909.08053, 3). Logits are not gathered: devices
// exchange three numbers a row.
//
// With m = max_i lse_i over the devices' own logsumexp lse_i: lse = m + log(sum_i e^(lse_i - m)),
// and the logit of a row's label is on one device, and 0 counts for it on the others.
#ifndef MOAI_SCHEDULER_PARTITION_VOCABULARY_LOSS_H_
#define MOAI_SCHEDULER_PARTITION_VOCABULARY_LOSS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/partition/devices_builder.h"
#include "scheduler/partition/redistribute.h"

namespace moai {

// Whether a node is cross entropy, or its gradient, of logits that are split by class.
bool SplitsClasses(const Node& node, absl::Span<const Placement> inputs);

// Records such a node, and returns its outputs: of kCrossEntropy the losses and logsumexps of the
// rows, the same on all devices that share them; of kCrossEntropyGrad the gradient of the device's
// own logits. `inputs` as recorded, and where they lie; `logits` is the type of the whole.
absl::StatusOr<std::vector<ValueId>> RecordSplitLoss(DevicesBuilder& builder, const Node& node,
                                                     absl::Span<const ValueId> inputs,
                                                     absl::Span<const Placement> places,
                                                     const TensorType& logits,
                                                     const Coordinates& at);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_VOCABULARY_LOSS_H_
