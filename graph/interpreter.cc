#include "graph/interpreter.h"

#include "base/status.h"
#include "graph/infer.h"
#include "graph/reference_execution.h"
#include "graph/verify.h"

namespace moai {

absl::StatusOr<std::vector<ReferenceTensor>> Interpret(const Graph& graph,
                                                       absl::Span<const int64_t> sizes,
                                                       absl::Span<const ReferenceTensor> bindings,
                                                       const InterpreterOptions& options) {
  MOAI_RETURN_IF_ERROR(VerifyStructure(graph));
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, sizes));
  reference::Execution execution(graph, sizes, types, options.round_to_dtype);
  MOAI_RETURN_IF_ERROR(execution.BindInputs(bindings));
  if (const absl::Status status = execution.Run(); !status.ok()) {
    return reference::AtNode(status, execution);
  }
  return execution.Outputs();
}

}  // namespace moai
