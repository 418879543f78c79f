// The CPU backend's kernels: one factory for every op.
#ifndef MOAI_WORKER_KERNELS_CPU_CPU_KERNELS_H_
#define MOAI_WORKER_KERNELS_CPU_CPU_KERNELS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/kernels/kernel.h"

namespace moai {

// A KernelFactory (kernel.h). Fused instructions go to the tile kernels, the rest to one kernel per
// op. Operands must be dense, except a matmul's (program.h). Results do not depend on
// device.threads, but for oneDNN's matrix products and convolutions, which divide long sums by it.
absl::StatusOr<std::unique_ptr<Kernel>> MakeCpuKernel(const Program& program, uint32_t index,
                                                      const DeviceShape& device);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_CPU_KERNELS_H_
