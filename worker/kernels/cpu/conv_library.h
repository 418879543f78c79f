// conv2d and its gradients by oneDNN.
#ifndef MOAI_WORKER_KERNELS_CPU_CONV_LIBRARY_H_
#define MOAI_WORKER_KERNELS_CPU_CONV_LIBRARY_H_

#include <memory>

#include "worker/kernels/cpu/kernel_tools.h"

namespace moai {

// Null where oneDNN does not take the dtype or the shape (f16, f64, nothing to do), or wants more
// scratch than the workspace table gives: conv.cc has loops for these.
std::unique_ptr<Kernel> MakeLibraryConvKernel(const KernelContext& context);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_CONV_LIBRARY_H_
