#include "scheduler/partition/testing/cut.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "scheduler/partition/redistribute.h"

namespace moai {
namespace {

// Which positions of each dim the device has, ascending.
std::vector<std::vector<int64_t>> OwnedPositions(const Shape& shape, const Layout& layout,
                                                 int64_t device) {
  const Coordinates at{&layout.mesh, {device}, 1, 0};
  std::vector<std::vector<int64_t>> owned(size_t(shape.rank()));
  for (int dim = 0; dim < shape.rank(); ++dim) {
    for (int64_t position = 0; position < shape[dim]; ++position) {
      bool mine = true;
      for (const AxisPlacement& factor : layout.placement) {
        if (factor.kind != PlacementKind::kShard || factor.dim != dim) continue;
        const LocalRange range =
            RangeOf(factor, layout.placement, int(layout.placement.size()), at, 0);
        const int64_t unit = position / factor.unit % factor.count;
        mine = mine && unit >= range.begin && unit < range.begin + range.count;
      }
      if (mine) owned[size_t(dim)].push_back(position);
    }
  }
  return owned;
}

// Calls visit(row-major position in the whole) for each element of the device's part, in order.
template <typename Visit>
void VisitPart(const Shape& shape, const Layout& layout, int64_t device, Shape& local,
               const Visit& visit) {
  const auto owned = OwnedPositions(shape, layout, device);
  local = Shape();
  for (const auto& positions : owned) local.push_back(int64_t(positions.size()));
  const Shape strides = DenseStrides(shape);
  for (int64_t i = 0; i < local.elements(); ++i) {
    int64_t rest = i, at = 0;
    for (int dim = shape.rank() - 1; dim >= 0; --dim) {
      at += owned[size_t(dim)][size_t(rest % local[dim])] * strides[dim];
      rest /= local[dim];
    }
    visit(at);
  }
}

}  // namespace

ReferenceTensor CutFor(const ReferenceTensor& whole, const Layout& layout, int64_t device) {
  if (!IsMember(layout, device)) {
    return ReferenceTensor::Zeros({whole.type.dtype, Shape::Filled(whole.type.shape.rank(), 0)});
  }
  ReferenceTensor part;
  part.type.dtype = whole.type.dtype;
  VisitPart(whole.type.shape, layout, device, part.type.shape, [&](int64_t at) {
    if (IsFloat(whole.type.dtype)) {
      part.floats.push_back(whole.floats[size_t(at)]);
    } else {
      part.integers.push_back(whole.integers[size_t(at)]);
    }
  });
  return part;
}

absl::StatusOr<ReferenceTensor> JoinParts(const std::vector<ReferenceTensor>& parts,
                                          const TensorType& type, const Layout& layout,
                                          double tolerance) {
  ReferenceTensor whole = ReferenceTensor::Zeros(type);
  std::vector<bool> set(size_t(type.shape.elements()), false);
  for (size_t device = 0; device < parts.size(); ++device) {
    const ReferenceTensor& part = parts[device];
    if (!IsMember(layout, int64_t(device))) {
      if (part.type.shape == Shape::Filled(type.shape.rank(), 0)) continue;
      return absl::InternalError(
          absl::StrCat("device ", device, " has ", ToString(part.type), ", expected nothing"));
    }
    Shape local;
    size_t i = 0;
    absl::Status status;
    VisitPart(type.shape, layout, int64_t(device), local, [&](int64_t at) {
      const size_t k = i++;
      if (!status.ok()) return;
      if (k >= std::max(part.floats.size(), part.integers.size())) {
        status = absl::InternalError(absl::StrCat("device ", device, " has too few elements"));
        return;
      }
      if (IsFloat(type.dtype)) {
        double& element = whole.floats[size_t(at)];
        const double value = part.floats[k];
        if (set[size_t(at)] && !(std::isnan(element) && std::isnan(value)) && element != value &&
            !(std::abs(element - value) <= tolerance * (1 + std::abs(value)))) {
          status = absl::InternalError(
              absl::StrCat("device ", device, " has ", value, " where another has ", element));
        }
        element = value;
      } else {
        int64_t& element = whole.integers[size_t(at)];
        if (set[size_t(at)] && element != part.integers[k]) {
          status = absl::InternalError(absl::StrCat("device ", device, " has ", part.integers[k],
                                                    " where another has ", element));
        }
        element = part.integers[k];
      }
      set[size_t(at)] = true;
    });
    if (!status.ok()) return status;
    if (!(part.type.shape == local)) {
      return absl::InternalError(absl::StrCat("device ", device, " has ", ToString(part.type),
                                              ", expected shape ", ToString(local)));
    }
  }
  for (bool element : set) {
    if (!element) return absl::InternalError("no device has some element");
  }
  return whole;
}

}  // namespace moai
