#include "graph/infer.h"

#include <array>

#include "base/status.h"
#include "graph/infer_internal.h"
#include "graph/infer_kinds.h"
#include "graph/op_schema.h"

namespace moai {
namespace infer_internal {

absl::Status NodeSizes::WrongExtent(size_t input, int dim, int64_t expected,
                                    absl::string_view why) const {
  return Invalid("dim ", dim, " of input ", input, " must be ", expected, " (", why, "), got ",
                 in(input)[dim]);
}

namespace {

// Which extents an index or group of the signature stands for: those of the first operand that
// has it.
struct Binding {
  const int64_t* extents = nullptr;  // null: not bound yet
  int count = 0;
  int input = 0;
};

using Bindings = std::array<Binding, kMaxSymbols>;

bool TakesOneDim(const SignatureToken& token) {
  return token.kind == TokenKind::kSingle || token.kind == TokenKind::kAtAxis;
}

// Dims that the one unbound group of the operand takes, once the axis is known.
int RestOf(const OperandPattern& pattern, const Bindings& bindings, int rank, int axis) {
  int rest = rank;
  for (size_t i = 0; i < pattern.tokens.size(); ++i) {
    const SignatureToken& token = pattern.tokens[i];
    if (TakesOneDim(token)) {
      --rest;
    } else if (bindings[token.symbol].extents != nullptr) {
      rest -= bindings[token.symbol].count;
    } else if (i == 0 && axis >= 0) {
      rest -= axis;
    }
  }
  return rest;
}

absl::Status BindOperand(const NodeSizes& sizes, const OpSchema& schema, size_t input,
                         Bindings& bindings) {
  const OperandPattern& pattern = schema.inputs[input];
  const Shape& shape = sizes.in(input);
  const int axis = pattern.axis_token >= 0 ? sizes.node.attributes[schema.axis_attribute] : -1;
  const int rest = RestOf(pattern, bindings, shape.rank(), axis);
  int dim = 0;
  for (size_t i = 0; i < pattern.tokens.size(); ++i) {
    const SignatureToken& token = pattern.tokens[i];
    Binding& binding = bindings[token.symbol];
    if (binding.extents == nullptr) {
      const int count = TakesOneDim(token) ? 1 : i == 0 && axis >= 0 ? axis : rest;
      binding = {shape.begin() + dim, count, static_cast<int>(input)};
    }
    for (int k = 0; k < binding.count; ++k) {
      if (shape[dim + k] == binding.extents[k]) continue;
      return sizes.ExpectExtent(
          input, dim + k, binding.extents[k],
          absl::StrCat("index ", schema.symbols[token.symbol].name, " of input ", binding.input));
    }
    dim += binding.count;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InferFromSignature(const NodeSizes& sizes) {
  const OpSchema& schema = Schema(sizes.node.op);
  Bindings bindings;
  const size_t operands = std::min(schema.inputs.size(), sizes.inputs.size());
  for (size_t i = 0; i < operands; ++i) {
    MOAI_RETURN_IF_ERROR(BindOperand(sizes, schema, i, bindings));
  }
  int next_extent = 0;
  for (size_t i = 0; i < sizes.outputs.size(); ++i) {
    for (const SignatureToken& token : schema.outputs[i].tokens) {
      Binding& binding = bindings[token.symbol];
      if (binding.extents == nullptr) binding = {&sizes.extents[next_extent++], 1, 0};
      for (int k = 0; k < binding.count; ++k) sizes.out(i).push_back(binding.extents[k]);
    }
  }
  return absl::OkStatus();
}

namespace {

absl::Status InferPointwise(const NodeSizes& sizes) {
  const Shape* shape = nullptr;
  for (size_t i = 0; i < sizes.inputs.size(); ++i) {
    if (sizes.in(i).rank() == 0) continue;
    if (shape == nullptr) {
      shape = &sizes.in(i);
    } else if (!(sizes.in(i) == *shape)) {
      return sizes.ExpectShape(i, *shape, "that of the inputs before it, or rank 0");
    }
  }
  if (shape != nullptr) sizes.out(0) = *shape;
  return absl::OkStatus();
}

// The one list of ops whose sizes the signature does not say.
absl::Status InferSizes(const NodeSizes& sizes) {
  switch (sizes.node.op) {
    case Op::kReshape:
      return InferReshape(sizes);
    case Op::kTranspose:
      return InferTranspose(sizes);
    case Op::kBroadcast:
      return InferBroadcast(sizes);
    case Op::kSlice:
      return InferSlice(sizes);
    case Op::kSliceUpdate:
      return InferSliceUpdate(sizes);
    case Op::kPad:
      return InferPad(sizes);
    case Op::kConcat:
      return InferConcat(sizes);
    case Op::kFill:
    case Op::kBroadcastFromFirst:
    case Op::kRecv:
      return InferShapeExtents(sizes);
    case Op::kIota:
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      return InferCreatedPart(sizes);
    case Op::kEmbedding:
      return InferEmbedding(sizes);
    case Op::kEmbeddingGrad:
      return InferEmbeddingGrad(sizes);
    case Op::kMatmul:
      return InferMatmul(sizes);
    case Op::kReduceSum:
    case Op::kReduceMean:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kReduceProd:
    case Op::kReduceAny:
    case Op::kReduceAll:
      return InferReduce(sizes);
    case Op::kArgmax:
    case Op::kArgmin:
      return InferArgExtreme(sizes);
    case Op::kTopK:
      return InferTopK(sizes);
    case Op::kConv2d:
      return InferConv2d(sizes);
    case Op::kConv2dGradInput:
      return InferConv2dGradInput(sizes);
    case Op::kConv2dGradWeight:
      return InferConv2dGradWeight(sizes);
    case Op::kUnfold:
      return InferUnfold(sizes);
    case Op::kFold:
      return InferFold(sizes);
    case Op::kMaxPool2d:
    case Op::kAvgPool2d:
      return InferPool(sizes);
    case Op::kMaxPool2dGrad:
      return InferMaxPoolGrad(sizes);
    case Op::kAvgPool2dGrad:
      return InferAvgPoolGrad(sizes);
    case Op::kGroupNorm:
    case Op::kGroupNormGrad:
      return InferGroupNorm(sizes);
    case Op::kAttention:
      return InferAttention(sizes);
    case Op::kAttentionGrad:
      return InferAttentionGrad(sizes);
    case Op::kRotary:
      return InferRotary(sizes);
    case Op::kAllGather:
      return InferAllGather(sizes);
    case Op::kReduceScatter:
      return InferReduceScatter(sizes);
    case Op::kAllToAll:
      return InferAllToAll(sizes);
    case Op::kSend:
      return InferSend(sizes);
    default:
      return InferFromSignature(sizes);
  }
}

absl::Status CheckExtents(const NodeSizes& sizes) {
  for (size_t i = 0; i < sizes.extents.size(); ++i) {
    const int64_t extent = sizes.extents[i];
    if (extent >= -kMaxElements && extent <= kMaxElements) continue;
    return sizes.Invalid("extent ", i, " (of: ", Entry(sizes.node.op).extents,
                         ") is out of range: ", extent);
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const NodeSizes& sizes) {
  for (size_t i = 0; i < sizes.outputs.size(); ++i) {
    if (WithinLimits(sizes.out(i))) continue;
    return sizes.Invalid("output ", i, " would have shape ", ToString(sizes.out(i)),
                         "; extents must be 0 or more and a tensor has at most ", kMaxElements,
                         " elements");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace infer_internal

absl::Status InferNode(const Node& node, absl::Span<const TensorType> inputs,
                       absl::Span<const int64_t> extents, absl::Span<TensorType> outputs) {
  constexpr int kMostOutputs = 3;
  std::array<Value, kMostOutputs> kinds;
  MOAI_RETURN_IF_ERROR(InferKinds(node, Kinds(inputs), absl::MakeSpan(kinds)));
  if (outputs.size() < node.output_count || extents.size() != node.extent_count) {
    return absl::InvalidArgumentError(absl::StrCat(
        Name(node.op), ": needs room for ", uint32_t{node.output_count}, " outputs and ",
        node.extent_count, " extents, got ", outputs.size(), " and ", extents.size()));
  }
  outputs = outputs.subspan(0, node.output_count);
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i] = {.dtype = kinds[i].dtype};
  const infer_internal::NodeSizes sizes{node, inputs, extents, outputs};
  const OpEntry& entry = Entry(node.op);
  if (entry.op_class == OpClass::kPointwise && entry.dtype_rule != DtypeRule::kSpecial) {
    return infer_internal::InferPointwise(sizes);
  }
  MOAI_RETURN_IF_ERROR(infer_internal::CheckExtents(sizes));
  MOAI_RETURN_IF_ERROR(infer_internal::InferSizes(sizes));
  return infer_internal::CheckLimits(sizes);
}

namespace {

// Reads the extents of the inputs from the front of the size vector.
absl::Status TypeInputs(const Graph& graph, absl::Span<const int64_t> sizes,
                        std::vector<TensorType>& types) {
  size_t next = 0;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Input& input = graph.inputs[i];
    TensorType& type = types[input.value];
    type.dtype = graph.values[input.value].dtype;
    if (input.kind == InputKind::kScalar) continue;
    const int rank = graph.values[input.value].rank;
    type.shape = Shape(sizes.subspan(next, rank));
    next += rank;
    if (WithinLimits(type.shape)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "input ", i, " has shape ", ToString(type.shape),
        "; extents must be 0 or more and a tensor has at most ", kMaxElements, " elements"));
  }
  return absl::OkStatus();
}

// A slot keeps its type: an output is given the memory that an input reads.
absl::Status CheckSlotOutputs(const Graph& graph, const std::vector<TensorType>& types) {
  std::vector<const TensorType*> before(graph.slot_count, nullptr);
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) before[input.index] = &types[input.value];
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const Output& output = graph.outputs[i];
    if (output.kind != OutputKind::kSlot || before[output.index] == nullptr) continue;
    if (types[output.value] == *before[output.index]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("output ", i, " replaces slot binding ", output.index, " of type ",
                     ToString(*before[output.index]), " with ", ToString(types[output.value])));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<TensorType>> InferGraph(const Graph& graph,
                                                   absl::Span<const int64_t> sizes) {
  if (sizes.size() != graph.extent_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("the graph takes ", graph.extent_count, " sizes, got ", sizes.size()));
  }
  std::vector<TensorType> types(graph.values.size());
  MOAI_RETURN_IF_ERROR(TypeInputs(graph, sizes, types));
  std::vector<TensorType> inputs;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    inputs.clear();
    for (ValueId value : node.inputs) inputs.push_back(types[value]);
    const absl::Status status =
        InferNode(node, inputs, Extents(node, sizes),
                  absl::MakeSpan(types).subspan(node.first_output, node.output_count));
    if (status.ok()) continue;
    return absl::Status(status.code(), absl::StrCat("node ", i, ": ", status.message()));
  }
  MOAI_RETURN_IF_ERROR(CheckSlotOutputs(graph, types));
  return types;
}

}  // namespace moai
