#include "graph/testing/reference_op.h"

#include <utility>

#include "base/status.h"
#include "graph/builder.h"

namespace moai {

ReferenceTensor Floats(const Shape& shape, std::vector<double> elements, Dtype dtype) {
  return {.type = {dtype, shape}, .floats = std::move(elements)};
}

ReferenceTensor Integers(const Shape& shape, std::vector<int64_t> elements, Dtype dtype) {
  return {.type = {dtype, shape}, .integers = std::move(elements)};
}

absl::StatusOr<std::vector<ReferenceTensor>> RunOp(Op op, absl::Span<const ReferenceTensor> inputs,
                                                   const OpDetails& details) {
  GraphBuilder builder;
  std::vector<ValueId> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    values.push_back(builder.AddInput(InputKind::kValue, static_cast<uint32_t>(i), inputs[i].type));
  }
  MOAI_ASSIGN_OR_RETURN(const ValueId first, builder.AddNode(op, values, details.attributes,
                                                             details.extents, details.numbers));
  for (int i = 0; i < Entry(op).outputs; ++i) builder.AddOutput(OutputKind::kValue, first + i);
  const CapturedGraph captured = builder.Finish();
  return Interpret(captured.graph, captured.sizes, inputs);
}

}  // namespace moai
