// Fused kernels: runs tile bytecode (program/tile.h) over its iteration space.
#ifndef MOAI_WORKER_KERNELS_CPU_TILE_KERNEL_H_
#define MOAI_WORKER_KERNELS_CPU_TILE_KERNEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/kernels/kernel.h"

namespace moai {

// Makes the kernel of a fused instruction. The same program gives the same bits whatever
// device.threads is. Unimplemented names an op that no step function runs.
absl::StatusOr<std::unique_ptr<Kernel>> MakeTileKernel(const Program& program, uint32_t index,
                                                       const DeviceShape& device);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_TILE_KERNEL_H_
