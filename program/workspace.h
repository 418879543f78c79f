// Working space that kernels need beside their operands. Planner and worker both read it here.
#ifndef MOAI_PROGRAM_WORKSPACE_H_
#define MOAI_PROGRAM_WORKSPACE_H_

#include <cstdint>

#include "program/program.h"

namespace moai {

// Threads that a program's kernels may use; part of what a device is, so that maps agree.
struct DeviceShape {
  int threads = 1;
};

// Extents of the blocks in which kernels without a library multiply an m x k by a k x n matrix.
// Each thread has one block of both factors and of the result in its scratch, in f32.
struct ProductBlock {
  int64_t m, n, k;

  int64_t elements() const { return m * k + k * n + m * n; }
};
ProductBlock BlockOfProduct(int64_t m, int64_t n, int64_t k);
inline constexpr int64_t kMaxProductDepth = 256;  // of a block's k

// `count` products of an m x k by a k x n matrix: what a convolution or a gradient of one comes to.
struct ProductSize {
  int64_t count, m, n, k;
};
ProductSize ConvProduct(const Instruction& instruction);

// Scratch bytes of one instruction on the CPU backend: an upper bound that kernels keep to on
// every processor, whichever of their ways it takes, because the planner does not run on the
// worker's machine. Kernels are given exactly this much and allocate nothing else.
int64_t CpuWorkspaceBytes(const Instruction& instruction, const DeviceShape& device);

}  // namespace moai

#endif  // MOAI_PROGRAM_WORKSPACE_H_
