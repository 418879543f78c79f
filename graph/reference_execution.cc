#include "graph/reference_execution.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/decompose.h"

namespace moai::reference {
namespace {

void RoundFloats(ReferenceTensor& tensor) {
  if (tensor.type.dtype == Dtype::kF64) return;
  for (double& element : tensor.floats) element = RoundToDtype(element, tensor.type.dtype);
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

absl::Status RunDecomposed(const NodeRun& run) {
  GraphBuilder builder;
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < run.inputs.size(); ++i) {
    inputs.push_back(builder.AddInput(InputKind::kValue, static_cast<uint32_t>(i), run.in(i).type));
  }
  MOAI_ASSIGN_OR_RETURN(const Decomposition decomposition,
                        Decompose(run.node, inputs, run.extents, builder));
  for (ValueId output : decomposition.outputs) builder.AddOutput(OutputKind::kValue, output);
  const CapturedGraph captured = builder.Finish();
  Execution execution(captured.graph, captured.sizes, captured.types, /*round_to_dtype=*/false);
  for (size_t i = 0; i < inputs.size(); ++i) {
    // Not owned: the caller's tensors outlive this execution.
    execution.Bind(inputs[i], TensorPointer(TensorPointer(), &run.in(i)));
  }
  for (const Decomposition::Constant& constant : decomposition.constants) {
    ReferenceTensor tensor = ReferenceTensor::Zeros(captured.types[constant.value]);
    VisitElements(tensor, [&](auto& elements) { elements[0] = constant.number; });
    execution.Bind(constant.value, std::make_shared<const ReferenceTensor>(std::move(tensor)));
  }
  MOAI_RETURN_IF_ERROR(execution.Run());
  for (size_t i = 0; i < run.outputs.size(); ++i) {
    const ReferenceTensor& result = execution.value(decomposition.outputs[i]);
    if (!(result.type == run.outputs[i].type)) {
      return absl::InternalError(absl::StrCat("output ", i, " is decomposed into ",
                                              ToString(result.type), ", but has type ",
                                              ToString(run.outputs[i].type)));
    }
    run.outputs[i] = result;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunPrimitive(const NodeRun& run) {
  switch (Entry(run.node.op).op_class) {
    case OpClass::kPointwise:
      return RunPointwise(run);
    case OpClass::kView:
      return RunMovement(run);
    case OpClass::kCreate:
      return RunCreation(run);
    case OpClass::kReduce:
      return RunReduce(run);
    case OpClass::kMatmul:
      return RunMatmul(run);
    case OpClass::kIndexed:
      return RunIndexed(run);
    case OpClass::kOrder:
      return RunOrder(run);
    case OpClass::kCollective:
      return NotOfThisFamily(run);
    case OpClass::kWhole:
      break;
  }
  if (run.node.op == Op::kUnfold || run.node.op == Op::kFold) return RunWindow(run);
  return RunMovement(run);
}

Execution::Execution(const Graph& graph, absl::Span<const int64_t> sizes,
                     const std::vector<TensorType>& types, bool round_to_dtype)
    : graph_(graph),
      sizes_(sizes),
      types_(types),
      round_(round_to_dtype),
      values_(graph.values.size()),
      uses_(graph.values.size()) {
  for (const Node& node : graph_.nodes) {
    for (ValueId input : node.inputs) ++uses_[input];
  }
  for (const Output& output : graph_.outputs) ++uses_[output.value];
}

absl::Status Execution::BindInputs(absl::Span<const ReferenceTensor> bindings) {
  if (bindings.size() != graph_.inputs.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the graph takes ", graph_.inputs.size(), " bindings, got ", bindings.size()));
  }
  for (size_t i = 0; i < bindings.size(); ++i) {
    const Input& input = graph_.inputs[i];
    MOAI_ASSIGN_OR_RETURN(TensorPointer tensor,
                          TakeBinding(input, i, bindings[i], types_[input.value], round_));
    Bind(input.value, std::move(tensor));
  }
  return absl::OkStatus();
}

absl::Status Execution::Run() {
  while (!done() && !IsCollective(node().op)) {
    MOAI_RETURN_IF_ERROR(RunNode(node()));
    Advance();
  }
  return absl::OkStatus();
}

void Execution::Finish(ReferenceTensor result) {
  Define(node().first_output, std::move(result));
  Advance();
}

std::vector<ReferenceTensor> Execution::Outputs() const {
  std::vector<ReferenceTensor> outputs;
  for (const Output& output : graph_.outputs) outputs.push_back(value(output.value));
  return outputs;
}

absl::Status Execution::RunNode(const Node& node) {
  std::vector<const ReferenceTensor*> inputs;
  for (ValueId input : node.inputs) inputs.push_back(values_[input].get());
  std::vector<ReferenceTensor> outputs;
  for (int i = 0; i < node.output_count; ++i) {
    outputs.push_back(ReferenceTensor::Zeros(types_[node.first_output + i]));
  }
  const NodeRun run{node, Extents(node, sizes_), inputs, absl::MakeSpan(outputs)};
  MOAI_RETURN_IF_ERROR(HasDecomposition(node.op) ? RunDecomposed(run) : RunPrimitive(run));
  for (int i = 0; i < node.output_count; ++i) {
    Define(node.first_output + i, std::move(outputs[i]));
  }
  return absl::OkStatus();
}

void Execution::Define(ValueId value, ReferenceTensor tensor) {
  if (round_) RoundFloats(tensor);
  values_[value] = std::make_shared<const ReferenceTensor>(std::move(tensor));
}

void Execution::Advance() {
  for (ValueId input : node().inputs) {
    if (--uses_[input] == 0) values_[input] = nullptr;
  }
  ++position_;
}

absl::Status AtNode(const absl::Status& status, const Execution& execution) {
  return absl::Status(status.code(),
                      absl::StrCat("node ", execution.position(), " (", Name(execution.node().op),
                                   "): ", status.message()));
}

}  // namespace moai::reference
