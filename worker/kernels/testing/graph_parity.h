// Graphs through the compiler and the kernels, against the reference interpreter.
#ifndef MOAI_WORKER_KERNELS_TESTING_GRAPH_PARITY_H_
#define MOAI_WORKER_KERNELS_TESTING_GRAPH_PARITY_H_

#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/builder.h"
#include "graph/interpreter.h"
#include "graph/testing/random_graph.h"
#include "worker/kernels/kernel.h"

namespace moai {

using TensorBytes = std::vector<std::byte>;

// How far an output of this dtype may be from the reference: a float output is as exact as the
// coarsest dtype that its graph rounds to on the way.
double Tolerance(const CapturedGraph& captured, Dtype dtype);

// Empty if every element of `got` agrees with the reference, rounded to the dtype so that what
// overflows there is infinite on both sides; otherwise the first that does not. `tolerance` is
// relative, in part to the tensor's largest element: sums cancel.
std::string Difference(const TensorType& type, double tolerance, absl::Span<const std::byte> got,
                       const ReferenceTensor& want);

// Compiles the graph, checks the program (program_checker.h), runs it on `bindings` (one per graph
// input) and returns the graph's outputs in order.
absl::StatusOr<std::vector<TensorBytes>> RunGraph(const CapturedGraph& captured,
                                                  const std::vector<TensorBytes>& bindings,
                                                  KernelFactory factory, const DeviceShape& device);

// Runs the graph on random bindings. An error says which output differs from the interpreter's by
// more than its dtype's rounding, and shows graph and program.
absl::Status CheckAgainstInterpreter(const CapturedGraph& captured, KernelFactory factory,
                                     std::mt19937_64& random);

// The same for `rounds` random graphs of up to options.nodes nodes.
absl::Status CheckRandomGraphs(int rounds, uint64_t seed, const RandomGraphOptions& options,
                               KernelFactory factory);

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_TESTING_GRAPH_PARITY_H_
