// Graph -> program, in the two parts that program.h explains.
#ifndef MOAI_PROGRAM_COMPILE_H_
#define MOAI_PROGRAM_COMPILE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "program/program.h"
#include "program/workspace.h"

namespace moai {

// Everything about a program that does not depend on sizes. Immutable; shared between threads.
class ProgramTemplate;

// Compiles a verified structure: dead code, decomposition of ops without kernels, fusion, order.
absl::StatusOr<std::shared_ptr<const ProgramTemplate>> CompileStructure(const Graph& graph);

// Places the template at one size vector. `types` are InferGraph's for the same graph and sizes.
absl::StatusOr<Program> InstantiateProgram(const ProgramTemplate& program,
                                           absl::Span<const int64_t> sizes,
                                           absl::Span<const TensorType> types,
                                           const DeviceShape& device);

// All of the above for one graph at one size vector.
absl::StatusOr<Program> CompileProgram(const Graph& graph, absl::Span<const int64_t> sizes,
                                       const DeviceShape& device);

}  // namespace moai

#endif  // MOAI_PROGRAM_COMPILE_H_
