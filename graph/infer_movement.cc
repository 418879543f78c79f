// Sizes of the ops that move, make or look up elements.
#include "base/status.h"
#include "graph/infer_internal.h"
#include "graph/parts.h"

namespace moai::infer_internal {

absl::Status InferShapeExtents(const NodeSizes& sizes) {
  for (int64_t extent : sizes.extents) sizes.out(0).push_back(extent);
  return absl::OkStatus();
}

absl::Status InferCreatedPart(const NodeSizes& sizes) {
  const CreatedPart part = CreatedPartOf(sizes.node, sizes.extents);
  sizes.out(0) = part.shape;
  // Positions in the whole are counted, so that it has to be within limits as well.
  if (!WithinLimits(part.whole)) {
    return sizes.Invalid("the whole would have shape ", ToString(part.whole),
                         "; extents must be 0 or more and a tensor has at most ", kMaxElements,
                         " elements");
  }
  for (int dim = 0; dim < part.shape.rank(); ++dim) {
    const int64_t start = part.start[dim], extent = part.shape[dim];
    if (start >= 0 && start + extent <= part.whole[dim]) continue;
    return sizes.Invalid("dim ", dim, " is a part of ", part.whole[dim], ", but starts at ", start,
                         " and has ", extent);
  }
  return absl::OkStatus();
}

namespace {

absl::Status CheckWindow(const NodeSizes& sizes, int64_t rows, absl::Span<const int64_t> extents) {
  const TableWindow window = WindowOfTable(rows, extents);
  if (window.first >= 0 && window.first + rows <= window.whole) return absl::OkStatus();
  return sizes.Invalid("the ", rows, " rows from row ", window.first,
                       " on must be rows of a table of ", window.whole);
}

}  // namespace

absl::Status InferEmbedding(const NodeSizes& sizes) {
  MOAI_RETURN_IF_ERROR(InferFromSignature(sizes));
  return CheckWindow(sizes, sizes.in(0)[0], sizes.extents);
}

absl::Status InferEmbeddingGrad(const NodeSizes& sizes) {
  MOAI_RETURN_IF_ERROR(InferFromSignature(sizes));
  return CheckWindow(sizes, sizes.extents[0], sizes.extents.subspan(1));
}

absl::Status InferReshape(const NodeSizes& sizes) {
  MOAI_RETURN_IF_ERROR(InferShapeExtents(sizes));
  // Only shapes within limits have a product that is safe to take.
  if (WithinLimits(sizes.out(0)) && sizes.out(0).elements() == sizes.in(0).elements()) {
    return absl::OkStatus();
  }
  return sizes.Invalid("shape ", ToString(sizes.in(0)), " has ", sizes.in(0).elements(),
                       " elements and cannot become ", ToString(sizes.out(0)));
}

absl::Status InferTranspose(const NodeSizes& sizes) {
  for (int32_t dim : sizes.node.attributes) sizes.out(0).push_back(sizes.in(0)[dim]);
  return absl::OkStatus();
}

absl::Status InferBroadcast(const NodeSizes& sizes) {
  MOAI_RETURN_IF_ERROR(InferShapeExtents(sizes));
  for (int dim = 0; dim < sizes.in(0).rank(); ++dim) {
    const int64_t extent = sizes.in(0)[dim];
    const int64_t target = sizes.out(0)[sizes.node.attributes[1 + dim]];
    if (extent == 1 || extent == target) continue;
    return sizes.Invalid("dim ", dim, " of input 0 must be 1 or ", target, ", got ", extent);
  }
  return absl::OkStatus();
}

absl::Status InferSlice(const NodeSizes& sizes) {
  for (int dim = 0; dim < sizes.in(0).rank(); ++dim) {
    const int64_t start = sizes.extents[3 * dim];
    const int64_t limit = sizes.extents[3 * dim + 1];
    const int64_t step = sizes.extents[3 * dim + 2];
    const int64_t extent = sizes.in(0)[dim];
    if (start < 0 || start > limit || limit > extent) {
      return sizes.Invalid("dim ", dim, " needs 0 <= start <= limit <= ", extent, ", got start ",
                           start, " and limit ", limit);
    }
    if (step < 1) return sizes.Invalid("step of dim ", dim, " must be 1 or more, got ", step);
    sizes.out(0).push_back(start == limit ? 0 : (limit - start - 1) / step + 1);
  }
  return absl::OkStatus();
}

absl::Status InferSliceUpdate(const NodeSizes& sizes) {
  for (int dim = 0; dim < sizes.in(0).rank(); ++dim) {
    const int64_t start = sizes.extents[2 * dim];
    const int64_t step = sizes.extents[2 * dim + 1];
    const int64_t extent = sizes.in(0)[dim];
    const int64_t update = sizes.in(1)[dim];
    if (start < 0 || start > extent) {
      return sizes.Invalid("start of dim ", dim, " must be in [0, ", extent, "], got ", start);
    }
    if (step < 1) return sizes.Invalid("step of dim ", dim, " must be 1 or more, got ", step);
    const int64_t room = start == extent ? 0 : (extent - start - 1) / step + 1;
    if (update > room) {
      return sizes.Invalid("dim ", dim, " of input 1 is ", update, ", but only ", room,
                           " positions of ", extent, " are left from start ", start,
                           " in steps of ", step);
    }
  }
  sizes.out(0) = sizes.in(0);
  return absl::OkStatus();
}

absl::Status InferPad(const NodeSizes& sizes) {
  for (int dim = 0; dim < sizes.in(0).rank(); ++dim) {
    const int64_t low = sizes.extents[2 * dim];
    const int64_t high = sizes.extents[2 * dim + 1];
    if (low < 0 || high < 0) {
      return sizes.Invalid("padding of dim ", dim, " must be 0 or more, got low ", low,
                           " and high ", high);
    }
    sizes.out(0).push_back(low + sizes.in(0)[dim] + high);
  }
  return absl::OkStatus();
}

absl::Status InferConcat(const NodeSizes& sizes) {
  const int axis = sizes.node.attributes[0];
  Shape shape = sizes.in(0);
  for (size_t i = 1; i < sizes.inputs.size(); ++i) {
    for (int dim = 0; dim < shape.rank(); ++dim) {
      if (dim == axis) continue;
      MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(i, dim, shape[dim], "that of input 0"));
    }
    shape[axis] += sizes.in(i)[axis];
    if (shape[axis] > kMaxElements) break;  // refused by the limits, before it can overflow
  }
  sizes.out(0) = shape;
  return absl::OkStatus();
}

}  // namespace moai::infer_internal
