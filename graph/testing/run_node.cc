#include "graph/testing/run_node.h"

#include "base/status.h"
#include "graph/testing/random_bindings.h"

namespace moai {

std::vector<ReferenceTensor> RandomReferenceBindings(const CapturedGraph& captured,
                                                     std::mt19937_64& random) {
  const std::vector<std::vector<std::byte>> bytes = RandomBindings(captured, random);
  std::vector<ReferenceTensor> bindings;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const TensorType& type = captured.types[captured.graph.inputs[i].value];
    bindings.push_back(ReferenceTensor::FromBytes(type, bytes[i]));
  }
  return bindings;
}

absl::StatusOr<std::vector<ReferenceTensor>> RunNode(const NodeSpec& spec,
                                                     const std::vector<ReferenceTensor>& inputs) {
  GraphBuilder builder;
  std::vector<ValueId> values;
  for (const ReferenceTensor& input : inputs) {
    values.push_back(
        builder.AddInput(InputKind::kValue, static_cast<uint32_t>(values.size()), input.type));
  }
  MOAI_ASSIGN_OR_RETURN(const ValueId first, builder.AddNode(spec.op, values, spec.attributes,
                                                             spec.extents, spec.numbers));
  for (int i = 0; i < Entry(spec.op).outputs; ++i) builder.AddOutput(OutputKind::kValue, first + i);
  const CapturedGraph captured = builder.Finish();
  return Interpret(captured.graph, captured.sizes, inputs);
}

}  // namespace moai
