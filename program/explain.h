// A program as text: what runs, on which memory. For people, logs and tests; the format may change.
#ifndef MOAI_PROGRAM_EXPLAIN_H_
#define MOAI_PROGRAM_EXPLAIN_H_

#include <string>

#include "program/program.h"

namespace moai {

// One line per instruction, with the commit point, then the buffers and the memory map.
std::string Explain(const Program& program);

// The code of one fused kernel, one line per instruction.
std::string Explain(const TileKernel& kernel);

}  // namespace moai

#endif  // MOAI_PROGRAM_EXPLAIN_H_
