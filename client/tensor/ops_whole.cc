// Softmax, norms, attention, indexing, losses: ops that have kernels of their own.
#include <cmath>

#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

// The op works on the last dim; another one is brought there and back.
Tensor OnLastDim(Op op, const Tensor& x, int dim, Location location) {
  if (!x.ok()) return RecordOp1(op, {x}, location);
  const std::optional<int> axis = ResolveDim(dim, x.rank());
  if (!axis.has_value()) {
    return InvalidAt(location, Name(op), ": no dim ", dim, " in ", ToString(x.type()));
  }
  if (*axis == x.rank() - 1) return RecordOp1(op, {x}, location);
  return RecordOp1(op, {x.Transpose(*axis, -1)}, location).Transpose(*axis, -1);
}

// Weights of norms have x's dtype or f32.
Tensor NormWeight(const Tensor& weight, const Tensor& x) {
  if (weight.dtype() == x.dtype() || weight.dtype() == Dtype::kF32) return weight;
  return weight.To(x.dtype());
}

Tensor AlongDim(Op op, std::initializer_list<Operand> operands, const Tensor& x, int dim,
                Location location) {
  const std::optional<int> axis = ResolveDim(dim, x.rank());
  if (x.ok() && !axis.has_value()) {
    return InvalidAt(location, Name(op), ": no dim ", dim, " in ", ToString(x.type()));
  }
  const int32_t attributes[] = {axis.value_or(0)};
  return RecordOp1(op, operands, location, attributes);
}

}  // namespace

Tensor Softmax(const Tensor& x, int dim, Location location) {
  return OnLastDim(Op::kSoftmax, x, dim, location);
}

Tensor LogSoftmax(const Tensor& x, int dim, Location location) {
  return OnLastDim(Op::kLogSoftmax, x, dim, location);
}

Tensor LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                 Location location) {
  const double numbers[] = {eps};
  return RecordOps<3>(Op::kLayerNorm, {x, NormWeight(weight, x), NormWeight(bias, x)}, location, {},
                      {}, numbers)[0];
}

Tensor RmsNorm(const Tensor& x, const Tensor& weight, double eps, Location location) {
  const double numbers[] = {eps};
  return RecordOps<2>(Op::kRmsNorm, {x, NormWeight(weight, x)}, location, {}, {}, numbers)[0];
}

Tensor GroupNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups,
                 double eps, Location location) {
  const double numbers[] = {eps};
  const int64_t extents[] = {groups};
  return RecordOps<3>(Op::kGroupNorm, {x, NormWeight(weight, x), NormWeight(bias, x)}, location, {},
                      extents, numbers)[0];
}

BatchNormResult BatchNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                          Location location) {
  const double numbers[] = {eps};
  const auto outputs = RecordOps<3>(Op::kBatchNorm, {x, NormWeight(weight, x), NormWeight(bias, x)},
                                    location, {}, {}, numbers);
  return {outputs[0], outputs[1].Detach(), outputs[2].Detach()};
}

Tensor Attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                 Location location) {
  const int32_t attributes[] = {options.causal};
  const double head = q.rank() == 4 ? static_cast<double>(q.size(-1)) : 1;
  const double numbers[] = {options.scale.value_or(1 / std::sqrt(head))};
  const Tensor query = Autocasted(q);
  const Tensor key = k.To(query.dtype());
  const Tensor value = v.To(query.dtype());
  if (options.mask == nullptr) {
    return RecordOps<2>(Op::kAttention, {query, key, value}, location, attributes, {}, numbers)[0];
  }
  const Tensor mask = NormWeight(*options.mask, query);
  return RecordOps<2>(Op::kAttention, {query, key, value, mask}, location, attributes, {},
                      numbers)[0];
}

Tensor Rotary(const Tensor& x, const Tensor& cosine, const Tensor& sine, Location location) {
  const int32_t attributes[] = {0};
  return RecordOp1(Op::kRotary, {x, NormWeight(cosine, x), NormWeight(sine, x)}, location,
                   attributes);
}

Tensor Embedding(const Tensor& table, const Tensor& ids, Location location) {
  return Autocasted(RecordOp1(Op::kEmbedding, {table, ids}, location));
}

Tensor IndexSelect(const Tensor& x, int dim, const Tensor& ids, Location location) {
  return AlongDim(Op::kIndexSelect, {x, ids}, x, dim, location);
}

Tensor IndexAdd(const Tensor& x, int dim, const Tensor& ids, const Tensor& updates,
                Location location) {
  return AlongDim(Op::kIndexAdd, {x, ids, updates}, x, dim, location);
}

Tensor Gather(const Tensor& x, int dim, const Tensor& ids, Location location) {
  return AlongDim(Op::kGather, {x, ids}, x, dim, location);
}

Tensor Scatter(const Tensor& x, int dim, const Tensor& ids, const Tensor& updates,
               Location location) {
  return AlongDim(Op::kScatter, {x, ids, updates}, x, dim, location);
}

Tensor ScatterAdd(const Tensor& x, int dim, const Tensor& ids, const Tensor& updates,
                  Location location) {
  return AlongDim(Op::kScatterAdd, {x, ids, updates}, x, dim, location);
}

Tensor CrossEntropyRows(const Tensor& logits, const Tensor& labels, int ignore_index,
                        Location location) {
  const int32_t attributes[] = {ignore_index};
  return RecordOps<2>(Op::kCrossEntropy, {logits, labels}, location, attributes)[0];
}

}  // namespace moai
