// The order in which a pipeline's stages take their micro-batches, and what one training step under
// it looks like to the simulator.
#ifndef MOAI_SCHEDULER_COST_PIPELINE_SCHEDULE_H_
#define MOAI_SCHEDULER_COST_PIPELINE_SCHEDULE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "scheduler/cost/simulator.h"

namespace moai {

// A step of one device: micro-batch `micro_batch` through the device's chunk `chunk` of the model,
// forwards or backwards. Chunk c of device d is stage c * devices + d.
struct PipelineSlot {
  bool backward = false;
  int chunk = 0;
  int micro_batch = 0;
  friend bool operator==(const PipelineSlot&, const PipelineSlot&) = default;
};

// By device, in order. Fill, then one forward and one backward in turn (PipeDream-flush; Megatron
// arXiv 2104.04473). With several chunks a device the interleaved form: of chunks == 1 the bubble
// is (devices - 1) / micro_batches of the work, otherwise 1 / chunks of that.
// InvalidArgument: counts below one; several chunks where the micro-batches are no multiple of the
// devices, or with one device.
absl::StatusOr<std::vector<std::vector<PipelineSlot>>> OneForwardOneBackward(int devices,
                                                                             int micro_batches,
                                                                             int chunks = 1);

// All forwards, then all backwards (GPipe). The same bubble, all activations kept.
std::vector<std::vector<PipelineSlot>> AllForwardAllBackward(int devices, int micro_batches);

// Seconds of one micro-batch, by stage (device d's chunk c is stage c * devices + d).
struct PipelineTimes {
  std::vector<double> forward;
  std::vector<double> backward;
  double transfer = 0;  // of activations or their gradients to the next stage
};

// Adds the pipeline's tasks to a schedule: device d of the pipeline is `device_of[d]`. Transfers
// are sends that do not wait for their receiver; a neighbour on the same device costs nothing.
// Returns the last task of each device. Requires times for devices * chunks stages.
std::vector<TaskId> AddPipeline(const std::vector<std::vector<PipelineSlot>>& order,
                                const PipelineTimes& times, absl::Span<const uint32_t> device_of,
                                Schedule* schedule);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_PIPELINE_SCHEDULE_H_
