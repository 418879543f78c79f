#include "scheduler/cost/pipeline_schedule.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace moai {
namespace {

constexpr TaskId kNoTask = UINT32_MAX;

// The i-th forward (or backward) step of a device under interleaving: groups of `devices`
// micro-batches go through one chunk after the other.
PipelineSlot Interleaved(int i, int devices, int chunks, bool backward) {
  const int group = devices * chunks;
  const int chunk = i % group / devices;
  return {.backward = backward,
          .chunk = backward ? chunks - 1 - chunk : chunk,
          .micro_batch = i / group * devices + i % devices};
}

}  // namespace

absl::StatusOr<std::vector<std::vector<PipelineSlot>>> OneForwardOneBackward(int devices,
                                                                             int micro_batches,
                                                                             int chunks) {
  if (devices < 1 || micro_batches < 1 || chunks < 1) {
    return absl::InvalidArgumentError("a pipeline needs devices, micro-batches and chunks");
  }
  if (chunks > 1 && (devices == 1 || micro_batches % devices != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("interleaving ", chunks,
                     " chunks needs several devices, and micro-batches "
                     "that are a multiple of them; got ",
                     devices, " devices, ", micro_batches, " micro-batches"));
  }
  std::vector<std::vector<PipelineSlot>> order(devices);
  const int total = micro_batches * chunks;
  for (int device = 0; device < devices; ++device) {
    const int behind = devices - 1 - device;
    const int warm_up = std::min(total, chunks == 1 ? behind : 2 * behind + (chunks - 1) * devices);
    std::vector<PipelineSlot>& slots = order[device];
    for (int i = 0; i < total + warm_up; ++i) {
      if (i < total) slots.push_back(Interleaved(i, devices, chunks, /*backward=*/false));
      if (i >= warm_up)
        slots.push_back(Interleaved(i - warm_up, devices, chunks, /*backward=*/true));
    }
  }
  return order;
}

std::vector<std::vector<PipelineSlot>> AllForwardAllBackward(int devices, int micro_batches) {
  std::vector<std::vector<PipelineSlot>> order(devices);
  for (std::vector<PipelineSlot>& slots : order) {
    for (int i = 0; i < micro_batches; ++i) slots.push_back({.micro_batch = i});
    for (int i = 0; i < micro_batches; ++i) slots.push_back({.backward = true, .micro_batch = i});
  }
  return order;
}

std::vector<TaskId> AddPipeline(const std::vector<std::vector<PipelineSlot>>& order,
                                const PipelineTimes& times, absl::Span<const uint32_t> device_of,
                                Schedule* schedule) {
  const int devices = static_cast<int>(order.size());
  const int stages = static_cast<int>(times.forward.size());
  int micro_batches = 0;
  for (const PipelineSlot& slot : order[0]) {
    micro_batches = std::max(micro_batches, slot.micro_batch + 1);
  }
  const uint16_t forward = schedule->Category("forward");
  const uint16_t backward = schedule->Category("backward");
  const uint16_t transfer = schedule->Category("pipeline transfer");
  // What the next stage waits for, by direction, stage and micro-batch.
  std::vector<TaskId> ready(2 * stages * micro_batches, kNoTask);
  const auto at = [&](bool back, int stage, int micro_batch) -> TaskId& {
    return ready[((back ? stages : 0) + stage) * micro_batches + micro_batch];
  };
  std::vector<TaskId> last(devices, kNoTask);
  struct Waiting {
    TaskId task;
    bool backward;
    int stage, micro_batch;
  };
  std::vector<Waiting> waiting;
  for (int device = 0; device < devices; ++device) {
    for (const PipelineSlot& slot : order[device]) {
      const int stage = slot.chunk * devices + device;
      const TaskId task = schedule->AddCompute(
          device_of[device], slot.backward ? times.backward[stage] : times.forward[stage],
          slot.backward ? backward : forward, {}, slot.micro_batch);
      last[device] = task;
      waiting.push_back({task, slot.backward, stage, slot.micro_batch});
      const int next = slot.backward ? stage - 1 : stage + 1;
      const bool sends = next >= 0 && next < stages && next % devices != device;
      at(slot.backward, stage, slot.micro_batch) =
          sends ? schedule->AddTransfer(device_of[device], times.transfer, transfer, {task},
                                        slot.micro_batch)
                : task;
    }
  }
  for (const Waiting& w : waiting) {
    // Forwards from the stage before; backwards from the stage behind, the last from its forward.
    const bool turns = w.backward && w.stage == stages - 1;
    const int source = w.backward ? (turns ? w.stage : w.stage + 1) : w.stage - 1;
    if (source < 0) continue;
    const TaskId condition = at(w.backward && !turns, source, w.micro_batch);
    if (condition != kNoTask) schedule->AddDependency(w.task, condition);
  }
  return last;
}

}  // namespace moai
