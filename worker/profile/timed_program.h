// Runs a program on memory of its own, as an executor would, and says how long it takes.
#ifndef MOAI_WORKER_PROFILE_TIMED_PROGRAM_H_
#define MOAI_WORKER_PROFILE_TIMED_PROGRAM_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/builder.h"
#include "program/program.h"
#include "worker/kernels/kernel.h"

namespace moai {

// Not synchronised. Tensors hold small numbers. Graphs with scalar inputs are not supported.
class TimedProgram {
 public:
  // Compiles the graph and makes its kernels; fails where one is missing.
  static absl::StatusOr<std::unique_ptr<TimedProgram>> Make(const CapturedGraph& captured,
                                                            KernelFactory factory,
                                                            const DeviceShape& device);

  // Seconds of the fastest of several runs, in processor time of the calling thread, which is one
  // of the device's: a machine that is busy with other things disturbs it little. (Where a
  // container may use less than its processors' whole time, rates come out too high by that
  // factor.) Once to warm up, then at least once, and on until `seconds` have passed.
  double BestSeconds(double seconds);
  // The same of kernels that each begin when the nearer caches hold neither their code nor their
  // data, as in a step that comes to each of them once.
  double BestColdSeconds(double seconds);

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  using Memory = std::unique_ptr<std::byte, Free>;

  TimedProgram() = default;
  static Memory Allocate(int64_t bytes);
  double RunOnce();
  double RunOnceCold();
  template <class Run>
  static double BestOf(double seconds, const Run& run);

  Program program_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::vector<Memory> memory_;
  std::vector<std::byte*> addresses_;  // by BufferId
  StepErrors errors_;
  std::vector<std::byte> sweep_;  // what takes the caches from kernels
};

}  // namespace moai

#endif  // MOAI_WORKER_PROFILE_TIMED_PROGRAM_H_
