// Shared by the files that infer sizes (infer*.cc); not for others.
#ifndef MOAI_GRAPH_INFER_INTERNAL_H_
#define MOAI_GRAPH_INFER_INTERNAL_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai::infer_internal {

// One node whose kinds are right. The functions below append the extents of each output; the
// outputs come with their dtypes and rank 0, and are checked against the limits afterwards.
// Extents are in [-kMaxElements, kMaxElements], inputs' shapes within limits.
struct NodeSizes {
  const Node& node;
  absl::Span<const TensorType> inputs;
  absl::Span<const int64_t> extents;
  absl::Span<TensorType> outputs;

  const Shape& in(size_t i) const { return inputs[i].shape; }
  Shape& out(size_t i) const { return outputs[i].shape; }

  template <typename... Words>
  absl::Status Invalid(const Words&... words) const {
    return absl::InvalidArgumentError(absl::StrCat(Name(node.op), ": ", words...));
  }
  // Dim `dim` of input `input` must be `expected`, which is `why`.
  absl::Status ExpectExtent(size_t input, int dim, int64_t expected, absl::string_view why) const {
    if (in(input)[dim] == expected) return absl::OkStatus();
    return WrongExtent(input, dim, expected, why);
  }
  absl::Status ExpectShape(size_t input, const Shape& expected, absl::string_view why) const {
    if (in(input) == expected) return absl::OkStatus();
    return Invalid("input ", input, " must have shape ", ToString(expected), " (", why, "), got ",
                   ToString(in(input)));
  }

 private:
  absl::Status WrongExtent(size_t input, int dim, int64_t expected, absl::string_view why) const;
};

// From the signature alone: equal indices have equal extents; an index of the outputs only takes
// the node's extents in order.
absl::Status InferFromSignature(const NodeSizes& sizes);

// infer_movement.cc
absl::Status InferReshape(const NodeSizes& sizes);
absl::Status InferTranspose(const NodeSizes& sizes);
absl::Status InferBroadcast(const NodeSizes& sizes);
absl::Status InferSlice(const NodeSizes& sizes);
absl::Status InferSliceUpdate(const NodeSizes& sizes);
absl::Status InferPad(const NodeSizes& sizes);
absl::Status InferConcat(const NodeSizes& sizes);
absl::Status InferShapeExtents(const NodeSizes& sizes);  // the output's shape is the extents
absl::Status InferCreatedPart(const NodeSizes& sizes);
absl::Status InferEmbedding(const NodeSizes& sizes);
absl::Status InferEmbeddingGrad(const NodeSizes& sizes);

// infer_window.cc
absl::Status InferConv2d(const NodeSizes& sizes);
absl::Status InferConv2dGradInput(const NodeSizes& sizes);
absl::Status InferConv2dGradWeight(const NodeSizes& sizes);
absl::Status InferUnfold(const NodeSizes& sizes);
absl::Status InferFold(const NodeSizes& sizes);
absl::Status InferPool(const NodeSizes& sizes);
absl::Status InferMaxPoolGrad(const NodeSizes& sizes);
absl::Status InferAvgPoolGrad(const NodeSizes& sizes);

// infer_contract.cc
absl::Status InferMatmul(const NodeSizes& sizes);
absl::Status InferReduce(const NodeSizes& sizes);
absl::Status InferArgExtreme(const NodeSizes& sizes);
absl::Status InferTopK(const NodeSizes& sizes);
absl::Status InferGroupNorm(const NodeSizes& sizes);
absl::Status InferAttention(const NodeSizes& sizes);
absl::Status InferAttentionGrad(const NodeSizes& sizes);
absl::Status InferRotary(const NodeSizes& sizes);

// infer_collective.cc
absl::Status InferAllGather(const NodeSizes& sizes);
absl::Status InferReduceScatter(const NodeSizes& sizes);
absl::Status InferAllToAll(const NodeSizes& sizes);
absl::Status InferSend(const NodeSizes& sizes);

}  // namespace moai::infer_internal

#endif  // MOAI_GRAPH_INFER_INTERNAL_H_
