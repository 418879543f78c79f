// How the bindings and results of a partitioned graph lie, the stages of a pipeline included.
#ifndef MOAI_SCHEDULER_PARTITION_LAYOUTS_H_
#define MOAI_SCHEDULER_PARTITION_LAYOUTS_H_

#include <cstdint>
#include <vector>

#include "scheduler/partition/partitioner.h"
#include "scheduler/placement.h"

namespace moai {

// By graph input: the stage where it lives, or PipelineCut::kEveryStage, as feeds and scalars.
// Without a pipeline there is one stage, 0.
std::vector<uint32_t> StagesOfInputs(const PartitionRequest& request);
// By graph output: state stays where it is, other results are where they are made.
std::vector<uint32_t> StagesOfOutputs(const PartitionRequest& request);

// By graph input and output. Feeds and scalars are whole on every device.
std::vector<Layout> LayoutsOfInputs(const PartitionRequest& request);
std::vector<Layout> LayoutsOfOutputs(const PartitionRequest& request);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_LAYOUTS_H_
