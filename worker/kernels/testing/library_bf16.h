// What oneDNN can do on the machine of a test.
#ifndef MOAI_WORKER_KERNELS_TESTING_LIBRARY_BF16_H_
#define MOAI_WORKER_KERNELS_TESTING_LIBRARY_BF16_H_

#include <dnnl.hpp>

namespace moai {

// Its bf16 products and convolutions need AVX-512; ONEDNN_MAX_CPU_ISA may hide that.
inline bool LibraryHasBf16() {
  const int needed = static_cast<int>(dnnl::cpu_isa::avx512_core);
  return (static_cast<int>(dnnl::get_effective_cpu_isa()) & needed) == needed;
}

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_TESTING_LIBRARY_BF16_H_
