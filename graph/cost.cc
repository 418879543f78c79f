#include "graph/cost.h"

#include <algorithm>

namespace moai {
namespace {

double Elements(const TensorType& type) { return static_cast<double>(type.shape.elements()); }
double Bytes(const TensorType& type) { return static_cast<double>(type.bytes()); }

// Pairs of a query and a key that it sees, of one batch entry and head.
double VisiblePairs(int64_t queries, int64_t keys, bool causal) {
  if (!causal) return static_cast<double>(queries) * static_cast<double>(keys);
  // Query i sees min(keys, max(0, i + keys - queries + 1)) keys: a ramp that ends at `keys`.
  const double ramp = static_cast<double>(std::min(queries, keys));
  return ramp * static_cast<double>(keys) - ramp * (ramp - 1) / 2;
}

double AttentionFlops(const Node& node, absl::Span<const TensorType> inputs) {
  const Shape& q = inputs[0].shape;
  const double d = static_cast<double>(q[3]);
  const double e = static_cast<double>(inputs[2].shape[3]);
  const double pairs = static_cast<double>(q[0]) * static_cast<double>(q[2]) *
                       VisiblePairs(q[1], inputs[1].shape[1], node.attributes[0] != 0);
  // Forward: scores and the weighted sum. Backward: scores again, dp and dv over e, dq and dk.
  return 2 * pairs * (node.op == Op::kAttention ? d + e : 3 * d + 2 * e);
}

// Multiply-adds of a convolution, whichever operand is the result: each element of y meets each
// element of one output channel's weight.
double ConvolutionFlops(const TensorType& y, const TensorType& weight) {
  const Shape& w = weight.shape;
  return 2 * Elements(y) * static_cast<double>(w[1]) * static_cast<double>(w[2]) *
         static_cast<double>(w[3]);
}

double MatmulFlops(const Node& node, absl::Span<const TensorType> inputs,
                   absl::Span<const TensorType> outputs) {
  const Shape& a = inputs[0].shape;
  const int k = node.attributes[0] != 0 ? a.rank() - 2 : a.rank() - 1;
  return 2 * Elements(outputs[0]) * static_cast<double>(a[k]);
}

// Operations for each element of the largest operand, of ops that are kept whole.
double OperationsPerElement(Op op) {
  switch (op) {
    case Op::kSoftmax:
    case Op::kLogSoftmax:
    case Op::kCrossEntropy:
      return 5;  // maximum, subtract, exp, sum, divide
    case Op::kSoftmaxGrad:
    case Op::kLogSoftmaxGrad:
    case Op::kCrossEntropyGrad:
      return 4;
    case Op::kLayerNorm:
    case Op::kGroupNorm:
    case Op::kBatchNorm:
      return 8;  // two sums, center, square, scale, weight, bias
    case Op::kRmsNorm:
      return 4;
    case Op::kLayerNormGrad:
    case Op::kGroupNormGrad:
    case Op::kBatchNormGrad:
      return 14;
    case Op::kRmsNormGrad:
      return 10;
    case Op::kRotary:
      return 3;
    case Op::kAdamW:
      return 16;
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      return 20;  // Philox rounds, a quarter of a block
    case Op::kSliceUpdate:
    case Op::kPad:
    case Op::kConcat:
    case Op::kTril:
    case Op::kTriu:
    case Op::kUnfold:
    case Op::kFill:
    case Op::kIota:
    case Op::kEmbedding:
    case Op::kIndexSelect:
    case Op::kGather:
    case Op::kScatter:
    case Op::kCast:
      return 0;  // moves elements only
    default:
      return 1;
  }
}

double Flops(const Node& node, absl::Span<const TensorType> inputs,
             absl::Span<const TensorType> outputs) {
  switch (node.op) {
    case Op::kMatmul:
      return MatmulFlops(node, inputs, outputs);
    case Op::kConv2d:
      return ConvolutionFlops(outputs[0], inputs[1]);
    case Op::kConv2dGradInput:
      return ConvolutionFlops(inputs[0], inputs[1]);
    case Op::kConv2dGradWeight:
      return ConvolutionFlops(inputs[0], outputs[0]);
    case Op::kAttention:
    case Op::kAttentionGrad:
      return AttentionFlops(node, inputs);
    case Op::kEmbeddingGrad:
      return Elements(inputs[1]);
    case Op::kIndexAdd:
    case Op::kScatterAdd:
      return Elements(inputs[2]);
    default:
      break;
  }
  // Moves what the devices have; combining it is the links' time, not the cores'.
  if (IsCollective(node.op)) return 0;
  double largest = 0;
  for (const TensorType& type : inputs) largest = std::max(largest, Elements(type));
  for (const TensorType& type : outputs) largest = std::max(largest, Elements(type));
  return OperationsPerElement(node.op) * largest;
}

// Lookups read the rows that are named, not the table.
bool ReadsRowsOfFirstInput(Op op) {
  return op == Op::kEmbedding || op == Op::kIndexSelect || op == Op::kGather;
}

}  // namespace

NodeCost CostOf(const Node& node, absl::Span<const TensorType> inputs,
                absl::Span<const TensorType> outputs) {
  NodeCost cost;
  // A view is another way to look at the same bytes.
  if (Entry(node.op).op_class == OpClass::kView) return cost;
  cost.flops = Flops(node, inputs, outputs);
  for (const TensorType& type : inputs) cost.bytes_read += Bytes(type);
  for (const TensorType& type : outputs) cost.bytes_written += Bytes(type);
  if (ReadsRowsOfFirstInput(node.op)) {
    cost.bytes_read -= std::max(0.0, Bytes(inputs[0]) - Bytes(outputs[0]));
  }
  return cost;
}

}  // namespace moai
