// Runs the kernels that may go on beside a program's other instructions (Instruction::overlapped),
// one after the other, on a thread of their own.
#ifndef MOAI_WORKER_EXECUTOR_BACKGROUND_KERNELS_H_
#define MOAI_WORKER_EXECUTOR_BACKGROUND_KERNELS_H_

#include <cstddef>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "worker/kernels/kernel.h"

namespace moai {

// One thread at a time calls the methods.
class BackgroundKernels {
 public:
  BackgroundKernels() = default;
  ~BackgroundKernels();  // after what was started
  BackgroundKernels(const BackgroundKernels&) = delete;
  BackgroundKernels& operator=(const BackgroundKernels&) = delete;

  // Runs the kernel after those started before. It, and what the arguments point to, stay as they
  // are until it is complete.
  void Start(Kernel* kernel, const KernelArguments& arguments);
  // Blocks until all but the last `remaining` of those started are complete. The caller sees what
  // they wrote.
  void AwaitAllBut(size_t remaining);

 private:
  struct Started {
    Kernel* kernel = nullptr;
    KernelArguments arguments;
  };
  void Run();

  std::thread thread_;  // since the first kernel
  Mutex mutex_;
  CondVar changed_;
  // Since there was last nothing to do; memory is reused.
  std::vector<Started> started_ ABSL_GUARDED_BY(mutex_);
  size_t complete_ ABSL_GUARDED_BY(mutex_) = 0;  // of those, from the first
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_BACKGROUND_KERNELS_H_
