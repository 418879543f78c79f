// Cuts a training step into the chunks of a pipeline.
#ifndef MOAI_SCHEDULER_PLANNING_PIPELINE_H_
#define MOAI_SCHEDULER_PLANNING_PIPELINE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "scheduler/partition/partitioner.h"
#include "scheduler/planning/graph_facts.h"

namespace moai {

// Chunks of about equal arithmetic, cut where the forward pass is narrow. State lives with its
// first reader; the backward pass and updates run where their state and saved values are.
// `chunks` is a multiple of `stages`. InvalidArgument where there are not enough narrow places.
absl::StatusOr<PipelineCut> CutPipeline(const GraphFacts& facts, int64_t stages, uint32_t chunks);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_PIPELINE_H_
