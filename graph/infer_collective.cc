// Sizes of the ops that exchange elements with other devices. How many devices there are is not
// known here: only what every number of them needs.
#include "graph/infer_internal.h"

namespace moai::infer_internal {
namespace {

// `part` of `whole` elements of dim `axis`, both in units of `unit`.
absl::Status CheckPart(const NodeSizes& sizes, int64_t part, int64_t whole, int64_t unit,
                       int axis) {
  if (unit < 1) {
    return sizes.Invalid("the unit of dim ", axis, " must be 1 or more, got ", unit);
  }
  if (part < 0 || part > whole) {
    return sizes.Invalid("the part of dim ", axis, " must be in [0, ", whole, "], got ", part);
  }
  for (int64_t extent : {part, whole}) {
    if (extent % unit == 0) continue;
    return sizes.Invalid("dim ", axis, " is split in units of ", unit, ", which do not divide ",
                         extent);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status InferAllGather(const NodeSizes& sizes) {
  const int axis = sizes.node.attributes[0];
  const int64_t whole = sizes.extents[0], unit = sizes.extents[1];
  sizes.out(0) = sizes.in(0);
  sizes.out(0)[axis] = whole;
  return CheckPart(sizes, sizes.in(0)[axis], whole, unit, axis);
}

absl::Status InferReduceScatter(const NodeSizes& sizes) {
  const int axis = sizes.node.attributes[0];
  const int64_t part = sizes.extents[0], unit = sizes.extents[1];
  sizes.out(0) = sizes.in(0);
  sizes.out(0)[axis] = part;
  return CheckPart(sizes, part, sizes.in(0)[axis], unit, axis);
}

absl::Status InferAllToAll(const NodeSizes& sizes) {
  const int joined = sizes.node.attributes[0], split = sizes.node.attributes[1];
  const int64_t whole = sizes.extents[0], unit = sizes.extents[1];
  const int64_t part = sizes.extents[2], split_unit = sizes.extents[3];
  sizes.out(0) = sizes.in(0);
  sizes.out(0)[joined] = whole;
  sizes.out(0)[split] = part;
  if (absl::Status status = CheckPart(sizes, sizes.in(0)[joined], whole, unit, joined);
      !status.ok()) {
    return status;
  }
  return CheckPart(sizes, part, sizes.in(0)[split], split_unit, split);
}

absl::Status InferSend(const NodeSizes& sizes) {
  sizes.out(0).push_back(0);
  return absl::OkStatus();
}

}  // namespace moai::infer_internal
