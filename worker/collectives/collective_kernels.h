// Kernels of the ops of class kCollective.
#ifndef MOAI_WORKER_COLLECTIVES_COLLECTIVE_KERNELS_H_
#define MOAI_WORKER_COLLECTIVES_COLLECTIVE_KERNELS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "program/device_graph.h"
#include "program/program.h"
#include "worker/collectives/communicator.h"
#include "worker/kernels/kernel.h"

namespace moai {

// Makes the kernel of program.instructions[index]. `groups` are those of the device's part; they
// are copied. `program` and `communicator` outlive the kernel. InvalidArgument for a group, shape
// or reduction that does not fit; Internal for too little scratch.
//
// Run cannot return an error. One of a link is the communicator's status() from then on; Run does
// nothing once it has an error. Whoever runs the program looks at it before a step commits.
absl::StatusOr<std::unique_ptr<Kernel>> MakeCollectiveKernel(const Program& program, uint32_t index,
                                                             absl::Span<const DeviceGroup> groups,
                                                             Communicator* communicator);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_COLLECTIVE_KERNELS_H_
