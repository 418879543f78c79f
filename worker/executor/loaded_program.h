// A program made ready to run: its kernels, and the table of buffer addresses that they read.
#ifndef MOAI_WORKER_EXECUTOR_LOADED_PROGRAM_H_
#define MOAI_WORKER_EXECUTOR_LOADED_PROGRAM_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "program/allocation.h"
#include "program/device_graph.h"
#include "program/program.h"
#include "worker/executor/background_kernels.h"
#include "worker/executor/device_peers.h"
#include "worker/executor/step_profile.h"
#include "worker/kernels/kernel.h"

namespace moai {

// What a step does once one of its instructions has raised an error.
enum class OnError {
  kStop,
  kGoOn,  // other devices wait for it in collectives; what it makes does not count
};

// Not synchronised.
class LoadedProgram {
 public:
  // Makes every kernel. The error names the instruction that no kernel takes. Collectives are made
  // by `peers`, over `groups`, and overlapped ones run in `background`; both outlive the result.
  static absl::StatusOr<std::unique_ptr<LoadedProgram>> Make(
      Program program, KernelFactory make_kernel, const DeviceShape& device,
      DevicePeers* peers = nullptr, absl::Span<const DeviceGroup> groups = {},
      BackgroundKernels* background = nullptr);

  const Program& program() const { return program_; }
  const StepMemory& memory() const { return memory_; }

  // Addresses of the next run. Every binding is set before Run; temporaries, scalars and the places
  // of inline feeds follow from the arena's address.
  void SetArena(std::byte* arena);
  void SetSlot(size_t slot, std::byte* address) { Set(slots_[slot], address); }
  void SetValue(size_t value, std::byte* address) { Set(values_[value], address); }
  void SetFeed(size_t feed, std::byte* address) { Set(feeds_[feed], address); }
  void SetOutput(size_t output, std::byte* address) { Set(outputs_[output], address); }
  // Where an inline feed's bytes go, for SetFeed.
  std::byte* FeedPlace(size_t feed) const { return arena_ + feed_offsets_[feed]; }
  // Converts a scalar to its dtype, in its place in the arena.
  void WriteScalar(size_t scalar, Scalar value);

  // A step runs these three, in this order. First the part that may fail (Program::commit_point).
  absl::Status RunToCommit(OnError on_error = OnError::kStop);
  // Then what cannot fail, and writes no slot that existed before either.
  void RunToFirstWrite();
  // Then the rest. Requires that RunToCommit returned OK.
  void RunFromFirstWrite();
  // In place of the rest, for a step that does not count: waits for what is still running.
  void Abandon() { AwaitOverlapped(overlapped_.size()); }

  // Whether the value output is complete before the first write.
  bool IsCompleteAtFirstWrite(size_t output) const { return complete_early_[output]; }

 private:
  explicit LoadedProgram(Program program);
  void Set(const std::vector<BufferId>& buffers, std::byte* address) {
    for (BufferId buffer : buffers) addresses_[buffer] = address;
  }
  absl::Status Index();
  void FindEarlyOutputs();
  void RunInstruction(uint32_t index, const KernelArguments& arguments);
  // Until the first `count` overlapped instructions of this run are complete.
  void AwaitOverlapped(size_t count);

  Program program_;
  StepMemory memory_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::vector<std::byte*> addresses_;  // by BufferId
  // The buffers of each binding.
  std::vector<std::vector<BufferId>> slots_, values_, feeds_, outputs_, scalars_;
  std::vector<bool> complete_early_;  // by value output
  std::vector<BufferId> in_arena_;
  std::byte* arena_ = nullptr;
  int64_t scalars_offset_ = 0;
  std::vector<int64_t> feed_offsets_;  // -1 for feeds too large to travel inline
  StepErrors errors_;
  BackgroundKernels* background_ = nullptr;
  // Overlapped instructions of this run, as they were started, and how many are complete.
  std::vector<uint32_t> overlapped_;
  size_t overlapped_complete_ = 0;
  std::unique_ptr<StepProfile> profile_;  // null unless asked for
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_LOADED_PROGRAM_H_
