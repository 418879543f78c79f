#include "graph/interpreter.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/decompose.h"
#include "graph/infer.h"
#include "graph/reference_internal.h"
#include "graph/verify.h"

namespace moai {
namespace {

using TensorPointer = std::shared_ptr<const ReferenceTensor>;

void RoundFloats(ReferenceTensor& tensor) {
  if (tensor.type.dtype == Dtype::kF64) return;
  for (double& element : tensor.floats) element = RoundToDtype(element, tensor.type.dtype);
}

absl::Status RunPrimitive(const reference::NodeRun& run) {
  switch (Entry(run.node.op).op_class) {
    case OpClass::kPointwise:
      return reference::RunPointwise(run);
    case OpClass::kView:
      return reference::RunMovement(run);
    case OpClass::kCreate:
      return reference::RunCreation(run);
    case OpClass::kReduce:
      return reference::RunReduce(run);
    case OpClass::kMatmul:
      return reference::RunMatmul(run);
    case OpClass::kIndexed:
      return reference::RunIndexed(run);
    case OpClass::kOrder:
      return reference::RunOrder(run);
    case OpClass::kCollective:
      return reference::NotOfThisFamily(run);
    case OpClass::kWhole:
      break;
  }
  if (run.node.op == Op::kUnfold || run.node.op == Op::kFold) return reference::RunWindow(run);
  return reference::RunMovement(run);
}

// Runs the nodes of a graph whose types are known.
class Execution {
 public:
  // All of these outlive the execution.
  Execution(const Graph& graph, absl::Span<const int64_t> sizes,
            const std::vector<TensorType>& types, bool round)
      : graph_(graph), sizes_(sizes), types_(types), round_(round), values_(graph.values.size()) {
    CountUses();
  }

  void Bind(ValueId value, TensorPointer tensor) { values_[value] = std::move(tensor); }
  const TensorPointer& value(ValueId value) const { return values_[value]; }
  size_t failed() const { return failed_; }

  // On an error, failed() is the node's position.
  absl::Status Run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      failed_ = i;
      MOAI_RETURN_IF_ERROR(RunNode(node));
      for (ValueId input : node.inputs) {
        if (--uses_[input] == 0) values_[input] = nullptr;
      }
    }
    return absl::OkStatus();
  }

 private:
  void CountUses() {
    uses_.resize(graph_.values.size());
    for (const Node& node : graph_.nodes) {
      for (ValueId input : node.inputs) ++uses_[input];
    }
    for (const Output& output : graph_.outputs) ++uses_[output.value];
  }

  absl::Status RunNode(const Node& node) {
    std::vector<const ReferenceTensor*> inputs;
    for (ValueId input : node.inputs) inputs.push_back(values_[input].get());
    std::vector<ReferenceTensor> outputs;
    for (int i = 0; i < node.output_count; ++i) {
      outputs.push_back(ReferenceTensor::Zeros(types_[node.first_output + i]));
    }
    const reference::NodeRun run{node, Extents(node, sizes_), inputs, absl::MakeSpan(outputs)};
    MOAI_RETURN_IF_ERROR(HasDecomposition(node.op) ? RunDecomposed(run) : RunPrimitive(run));
    for (int i = 0; i < node.output_count; ++i) {
      if (round_) RoundFloats(outputs[i]);
      values_[node.first_output + i] =
          std::make_shared<const ReferenceTensor>(std::move(outputs[i]));
    }
    return absl::OkStatus();
  }

  static absl::Status RunDecomposed(const reference::NodeRun& run);

  const Graph& graph_;
  const absl::Span<const int64_t> sizes_;
  const std::vector<TensorType>& types_;
  const bool round_;
  std::vector<TensorPointer> values_;
  std::vector<uint32_t> uses_;  // by nodes still to run and by outputs
  size_t failed_ = 0;
};

absl::Status Execution::RunDecomposed(const reference::NodeRun& run) {
  GraphBuilder builder;
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < run.inputs.size(); ++i) {
    inputs.push_back(builder.AddInput(InputKind::kValue, static_cast<uint32_t>(i), run.in(i).type));
  }
  MOAI_ASSIGN_OR_RETURN(const Decomposition decomposition,
                        Decompose(run.node, inputs, run.extents, builder));
  for (ValueId output : decomposition.outputs) builder.AddOutput(OutputKind::kValue, output);
  const CapturedGraph captured = builder.Finish();
  Execution execution(captured.graph, captured.sizes, captured.types, /*round=*/false);
  for (size_t i = 0; i < inputs.size(); ++i) {
    // Not owned: the caller's tensors outlive this execution.
    execution.Bind(inputs[i], TensorPointer(TensorPointer(), &run.in(i)));
  }
  for (const Decomposition::Constant& constant : decomposition.constants) {
    ReferenceTensor tensor = ReferenceTensor::Zeros(captured.types[constant.value]);
    reference::VisitElements(tensor, [&](auto& elements) { elements[0] = constant.number; });
    execution.Bind(constant.value, std::make_shared<const ReferenceTensor>(std::move(tensor)));
  }
  MOAI_RETURN_IF_ERROR(execution.Run());
  for (size_t i = 0; i < run.outputs.size(); ++i) {
    const ReferenceTensor& result = *execution.value(decomposition.outputs[i]);
    if (!(result.type == run.outputs[i].type)) {
      return absl::InternalError(absl::StrCat("output ", i, " is decomposed into ",
                                              ToString(result.type), ", but has type ",
                                              ToString(run.outputs[i].type)));
    }
    run.outputs[i] = result;
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorPointer> TakeBinding(const Input& input, size_t position,
                                          const ReferenceTensor& binding, const TensorType& type,
                                          bool round) {
  const size_t elements = static_cast<size_t>(type.shape.elements());
  const bool is_float = IsFloat(type.dtype);
  if (!(binding.type == type) || binding.floats.size() != (is_float ? elements : 0) ||
      binding.integers.size() != (is_float ? 0 : elements)) {
    return absl::InvalidArgumentError(
        absl::StrCat("binding ", position, " must be a ", ToString(type), " with ", elements,
                     " elements, got a ", ToString(binding.type), " with ",
                     binding.floats.size() + binding.integers.size()));
  }
  if (input.kind != InputKind::kScalar && !round) {
    // Not owned: the caller's bindings outlive the execution.
    return TensorPointer(TensorPointer(), &binding);
  }
  ReferenceTensor rounded = binding;
  RoundFloats(rounded);
  return std::make_shared<const ReferenceTensor>(std::move(rounded));
}

}  // namespace

absl::StatusOr<std::vector<ReferenceTensor>> Interpret(const Graph& graph,
                                                       absl::Span<const int64_t> sizes,
                                                       absl::Span<const ReferenceTensor> bindings,
                                                       const InterpreterOptions& options) {
  MOAI_RETURN_IF_ERROR(VerifyStructure(graph));
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, sizes));
  if (bindings.size() != graph.inputs.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the graph takes ", graph.inputs.size(), " bindings, got ", bindings.size()));
  }
  Execution execution(graph, sizes, types, options.round_to_dtype);
  for (size_t i = 0; i < bindings.size(); ++i) {
    const Input& input = graph.inputs[i];
    MOAI_ASSIGN_OR_RETURN(
        TensorPointer tensor,
        TakeBinding(input, i, bindings[i], types[input.value], options.round_to_dtype));
    execution.Bind(input.value, std::move(tensor));
  }
  if (const absl::Status status = execution.Run(); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat("node ", execution.failed(), " (",
                                                    Name(graph.nodes[execution.failed()].op),
                                                    "): ", status.message()));
  }
  std::vector<ReferenceTensor> outputs;
  for (const Output& output : graph.outputs) outputs.push_back(*execution.value(output.value));
  return outputs;
}

}  // namespace moai
