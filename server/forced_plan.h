// What --force_plan fixes of every plan: for tests and experiments.
#ifndef MOAI_SERVER_FORCED_PLAN_H_
#define MOAI_SERVER_FORCED_PLAN_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "scheduler/planning/search.h"

namespace moai {

// "data=2,model=2,micro_batches=2,state=1,recompute=2,sequence=1"; what is not named stays free:
//
//   data, model     devices along the axis that splits what comes with each step; along the other
//   stages          of a pipeline; with one or more chunks each: virtual_stages (1F1B, interleaved)
//   micro_batches   parts of the batch, one after the other
//   state           sharded over the data axis: 0 none, 1 the optimizer's, 2 also gradients, 3 also
//                   parameters (as the stages of ZeRO)
//   recompute       0 none, 1 selective, 2 full
//   sequence        of what comes with each step, the model axis splits 0 nothing (tensor
//                   parallelism), 1 light nodes (sequence parallelism), 2 heavy ones too (context
//                   parallelism). Where a graph has nothing else to split, devices along the axis
//                   do the same
//   experts         whether the model axis splits experts first (expert parallelism): 0 or 1
//
// Empty: everything is free. InvalidArgument names a key that is none of these, comes twice, or has
// a value outside its range.
absl::StatusOr<SearchConstraints> ParseForcedPlan(absl::string_view text);

}  // namespace moai

#endif  // MOAI_SERVER_FORCED_PLAN_H_
