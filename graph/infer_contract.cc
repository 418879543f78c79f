// Sizes of contractions, reductions and attention, where they differ from the plain signature.
#include "base/status.h"
#include "graph/infer_internal.h"

namespace moai::infer_internal {

absl::Status InferMatmul(const NodeSizes& sizes) {
  const Shape& a = sizes.in(0);
  const Shape& b = sizes.in(1);
  const int rank = a.rank();
  const bool transpose_a = sizes.node.attributes[0] != 0;
  const bool transpose_b = sizes.node.attributes[1] != 0;
  for (int dim = 0; dim + 2 < rank; ++dim) {
    MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(1, dim, a[dim], "the batch dim of input 0"));
    sizes.out(0).push_back(a[dim]);
  }
  const int64_t k = a[transpose_a ? rank - 2 : rank - 1];
  MOAI_RETURN_IF_ERROR(
      sizes.ExpectExtent(1, transpose_b ? rank - 1 : rank - 2, k, "the contracted dim of input 0"));
  sizes.out(0).push_back(a[transpose_a ? rank - 1 : rank - 2]);
  sizes.out(0).push_back(b[transpose_b ? rank - 2 : rank - 1]);
  return absl::OkStatus();
}

absl::Status InferReduce(const NodeSizes& sizes) {
  uint32_t reduced = 0;
  for (int32_t axis : sizes.node.attributes) reduced |= 1u << axis;
  for (int dim = 0; dim < sizes.in(0).rank(); ++dim) {
    if ((reduced >> dim & 1) == 0) sizes.out(0).push_back(sizes.in(0)[dim]);
  }
  return absl::OkStatus();
}

absl::Status InferArgExtreme(const NodeSizes& sizes) {
  const int axis = sizes.node.attributes[0];
  if (sizes.in(0)[axis] == 0) {
    return sizes.Invalid("axis ", axis, " of ", ToString(sizes.in(0)), " must not be empty");
  }
  return InferFromSignature(sizes);
}

absl::Status InferTopK(const NodeSizes& sizes) {
  const int64_t extent = sizes.in(0)[sizes.node.attributes[0]];
  const int64_t k = sizes.extents[0];
  if (k < 0 || k > extent) return sizes.Invalid("k must be in [0, ", extent, "], got ", k);
  return InferFromSignature(sizes);
}

absl::Status InferGroupNorm(const NodeSizes& sizes) {
  const int64_t channels = sizes.in(0)[1];
  const int64_t groups = sizes.extents[0];
  if (groups < 1 || channels % groups != 0) {
    return sizes.Invalid("groups must be 1 or more and divide the ", channels, " channels, got ",
                         groups);
  }
  MOAI_RETURN_IF_ERROR(InferFromSignature(sizes));
  if (sizes.node.op == Op::kGroupNorm) return absl::OkStatus();
  // The statistics' index g is bound by input 2.
  return sizes.ExpectExtent(2, 1, groups, "the number of groups");
}

namespace {

// q, k, v [, mask at `mask`].
absl::Status CheckAttention(const NodeSizes& sizes, size_t mask) {
  const Shape& q = sizes.in(0);
  const Shape& k = sizes.in(1);
  MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(1, 0, q[0], "the batch of input 0"));
  MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(1, 3, q[3], "the head size of input 0"));
  for (int dim = 0; dim < 3; ++dim) {
    MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(2, dim, k[dim], "that of input 1"));
  }
  const int64_t heads = q[2];
  const int64_t key_heads = k[2];
  if (key_heads == 0 ? heads != 0 : heads % key_heads != 0) {
    return sizes.Invalid("the ", heads, " heads of input 0 must be a multiple of the ", key_heads,
                         " heads of input 1");
  }
  if (sizes.inputs.size() <= mask) return absl::OkStatus();
  const Shape full = {q[0], heads, q[1], k[1]};
  for (int dim = 0; dim < 4; ++dim) {
    const int64_t extent = sizes.in(mask)[dim];
    if (extent == full[dim] || (extent == 1 && dim < 2)) continue;
    return sizes.Invalid("dim ", dim, " of input ", mask, " (mask) must be ", full[dim],
                         dim < 2 ? " or 1" : "", ", got ", extent);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InferAttention(const NodeSizes& sizes) {
  MOAI_RETURN_IF_ERROR(CheckAttention(sizes, 3));
  const Shape& q = sizes.in(0);
  sizes.out(0) = {q[0], q[1], q[2], sizes.in(2)[3]};
  sizes.out(1) = {q[0], q[2], q[1]};
  return absl::OkStatus();
}

absl::Status InferAttentionGrad(const NodeSizes& sizes) {
  MOAI_RETURN_IF_ERROR(CheckAttention(sizes, 6));
  const Shape& q = sizes.in(0);
  const Shape o = {q[0], q[1], q[2], sizes.in(2)[3]};
  MOAI_RETURN_IF_ERROR(sizes.ExpectShape(3, o, "that of the attention's output"));
  MOAI_RETURN_IF_ERROR(sizes.ExpectShape(4, {q[0], q[2], q[1]}, "batch, heads, sequence"));
  MOAI_RETURN_IF_ERROR(sizes.ExpectShape(5, o, "that of the attention's output"));
  for (size_t i = 0; i < 3; ++i) sizes.out(i) = sizes.in(i);
  return absl::OkStatus();
}

absl::Status InferRotary(const NodeSizes& sizes) {
  const int64_t size = sizes.in(0)[3];
  if (size % 2 != 0) return sizes.Invalid("the head size must be even, got ", size);
  MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(1, 1, size / 2, "half the head size"));
  return InferFromSignature(sizes);
}

}  // namespace moai::infer_internal
