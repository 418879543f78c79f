#include "scheduler/partition/localize.h"

#include <vector>

namespace moai {
namespace {

bool Splits(const Placement& placement, int dim) {
  for (const AxisPlacement& axis : placement) {
    if (axis.kind == PlacementKind::kShard && axis.dim == dim) return true;
  }
  return false;
}

bool SplitsAny(const Placement& placement) {
  for (const AxisPlacement& axis : placement) {
    if (axis.kind == PlacementKind::kShard) return true;
  }
  return false;
}

// Where the part begins in a dim of which at most the outermost factor is split.
int64_t Begin(const Placement& placement, int dim, const Coordinates& at, size_t device) {
  for (const AxisPlacement& axis : placement) {
    if (axis.kind != PlacementKind::kShard || axis.dim != dim) continue;
    return RangeOf(axis, placement, int(placement.size()), at, device).begin * axis.unit;
  }
  return 0;
}

using Own = std::vector<int64_t>;

Own ShapeOnly(const Shape& shape) { return {shape.begin(), shape.end()}; }

// shape, the whole's shape, start: a part of a tensor that is made where it lies. The node may
// describe a part itself.
Own PartOfCreated(absl::Span<const int64_t> own, const Shape& shape, const Placement& placement,
                  const Coordinates& at, size_t device) {
  const size_t rank = size_t(shape.rank());
  const bool is_part = own.size() == 3 * rank;
  Own extents = ShapeOnly(LocalShapeAt(shape, placement, at, device));
  const absl::Span<const int64_t> whole = is_part ? own.subspan(rank, rank) : shape.span();
  extents.insert(extents.end(), whole.begin(), whole.end());
  for (int dim = 0; dim < shape.rank(); ++dim) {
    const int64_t start = is_part ? own[2 * rank + size_t(dim)] : 0;
    extents.push_back(start + Begin(placement, dim, at, device));
  }
  return extents;
}

Own SliceOfPart(absl::Span<const int64_t> whole, const Shape& shape, const Placement& placement,
                const Coordinates& at, size_t device) {
  Own extents(whole.begin(), whole.end());
  const Shape local = LocalShapeAt(shape, placement, at, device);
  for (int dim = 0; dim < shape.rank(); ++dim) {
    // A dim that is split is not cut: its index would be whole otherwise.
    if (Splits(placement, dim)) extents[3 * dim + 1] = local[dim];
  }
  return extents;
}

}  // namespace

DeviceExtents LocalExtents(const Node& node, absl::Span<const int64_t> whole,
                           absl::Span<const TensorType> types, absl::Span<const Placement> inputs,
                           absl::Span<const Placement> outputs, const Coordinates& at) {
  const Own unchanged(whole.begin(), whole.end());
  const Placement& output = outputs[0];
  const Shape& shape = types[node.first_output].shape;
  const auto each = [&](const auto& extents_of) {
    DeviceExtents all;
    for (size_t device = 0; device < at.devices.size(); ++device) all.push_back(extents_of(device));
    return all;
  };
  switch (node.op) {
    case Op::kReshape:
    case Op::kBroadcast:
    case Op::kFill:
      if (!SplitsAny(output)) break;
      return each([&](size_t d) { return ShapeOnly(LocalShapeAt(shape, output, at, d)); });
    case Op::kIota:
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      if (!SplitsAny(output)) break;
      return each([&](size_t d) { return PartOfCreated(whole, shape, output, at, d); });
    case Op::kSlice:
      if (!SplitsAny(output)) break;
      return each([&](size_t d) { return SliceOfPart(whole, shape, output, at, d); });
    case Op::kTril:
    case Op::kTriu:
      return each([&](size_t d) {
        const int64_t row = Begin(output, shape.rank() - 2, at, d);
        const int64_t column = Begin(output, shape.rank() - 1, at, d);
        return Own{whole[0] + row - column};
      });
    case Op::kEmbedding:
      if (!Splits(inputs[0], 0)) break;
      return each([&](size_t d) {
        const bool window = whole.size() == 2;
        return Own{(window ? whole[0] : 0) + Begin(inputs[0], 0, at, d),
                   window ? whole[1] : types[node.inputs[0]].shape[0]};
      });
    case Op::kEmbeddingGrad:
      if (!Splits(output, 0)) break;
      return each([&](size_t d) {
        const bool window = whole.size() == 3;
        return Own{LocalShapeAt(shape, output, at, d)[0],
                   (window ? whole[1] : 0) + Begin(output, 0, at, d), window ? whole[2] : shape[0]};
      });
    default:
      break;
  }
  return {unchanged};
}

}  // namespace moai
