// The border between the executor and a backend's kernels.
#ifndef MOAI_WORKER_KERNELS_KERNEL_H_
#define MOAI_WORKER_KERNELS_KERNEL_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "program/program.h"
#include "program/workspace.h"

namespace moai {

// The error flag of one step. Kernels raise it; the executor reads it at the commit point. Any
// thread.
class StepErrors {
 public:
  // Records that `instruction` met `value` where only [0, limit) is allowed. The error of the
  // lowest instruction is kept, whatever order threads raise them in.
  void RaiseIndexOutOfRange(uint32_t instruction, int64_t value, int64_t limit);
  bool raised() const { return raised_.load(std::memory_order_acquire); }
  // Requires raised() and that the kernels have finished.
  uint32_t instruction() const;
  int64_t value() const;
  int64_t limit() const;
  void Clear();

 private:
  std::atomic<bool> raised_{false};
  std::atomic<bool> lock_{false};
  uint32_t instruction_ = 0;
  int64_t value_ = 0;
  int64_t limit_ = 0;
};

// What a kernel sees of one execution. `buffers[id]` is the base address of Program buffer id; it
// may differ from step to step for slots, values, feeds and outputs.
struct KernelArguments {
  std::byte* const* buffers = nullptr;
  StepErrors* errors = nullptr;
};

// One instruction, made ready for one device: primitives created, loops chosen, addresses resolved
// but for the buffers' bases. Run allocates nothing and does not throw. One thread calls Run at a
// time; it uses the device's thread team itself and returns when the result is complete.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void Run(const KernelArguments& arguments) = 0;
};

// Makes the kernel of program.instructions[index]. `program` outlives the kernel.
// Unimplemented names the op, dtypes and shapes that no kernel takes.
using KernelFactory = absl::StatusOr<std::unique_ptr<Kernel>> (*)(const Program& program,
                                                                  uint32_t index,
                                                                  const DeviceShape& device);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_KERNEL_H_
