// Runs a program on memory of its own, as an executor would, and watches that kernels stay inside
// it. For tests and benchmarks of kernels.
#ifndef MOAI_WORKER_KERNELS_TESTING_PROGRAM_RUNNER_H_
#define MOAI_WORKER_KERNELS_TESTING_PROGRAM_RUNNER_H_

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/kernels/kernel.h"

namespace moai {

// A program of one instruction: inputs are value bindings 0, 1 ..., outputs are value outputs. All
// dense.
struct InstructionSpec {
  Op op = Op::kInvalid;
  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;
  std::vector<int32_t> attributes;
  std::vector<double> numbers;
  std::vector<int64_t> extents;
};
Program MakeInstructionProgram(const InstructionSpec& spec, const DeviceShape& device);

class ProgramRunner {
 public:
  // Makes the kernels; fails where one is missing.
  static absl::StatusOr<std::unique_ptr<ProgramRunner>> Make(Program program, KernelFactory factory,
                                                             const DeviceShape& device);

  // The memory of a binding or an output, to fill before and to read after Run. Empty where the
  // program does not use it.
  absl::Span<std::byte> Memory(BufferKind kind, uint32_t index);

  // InvalidArgument where a kernel raised the step's error, Internal where one wrote past the end
  // of a buffer.
  absl::Status Run();

  // Run without the checks, to be timed.
  void RunUnchecked();

  const Program& program() const { return program_; }

 private:
  // 64-byte aligned, with a margin of known bytes behind it.
  struct Block {
    std::unique_ptr<std::byte, void (*)(void*)> memory{nullptr, nullptr};
    int64_t bytes = 0;
  };

  ProgramRunner() = default;
  static Block Allocate(int64_t bytes);
  bool MarginsIntact() const;

  Program program_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::map<std::pair<BufferKind, uint32_t>, Block> bindings_;
  Block arena_;
  std::vector<std::byte*> addresses_;
  StepErrors errors_;
};

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_TESTING_PROGRAM_RUNNER_H_
