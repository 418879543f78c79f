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

// Scratch bytes of one instruction on the CPU backend: an upper bound that kernels keep to. Kernels
// are given exactly this much and allocate nothing else.
int64_t CpuWorkspaceBytes(const Instruction& instruction, const DeviceShape& device);

}  // namespace moai

#endif  // MOAI_PROGRAM_WORKSPACE_H_
