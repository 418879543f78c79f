#include "scheduler/partition/redistribute.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

bool IsShard(const AxisPlacement& placement) { return placement.kind == PlacementKind::kShard; }
bool IsPartial(const AxisPlacement& placement) { return placement.kind == PlacementKind::kPartial; }

// Whether two factors share strides of a dim, and are not one: what a dim was before a reshape
// joined it with another, and the joined dim. A tensor that is split by one cannot be seen as split
// by the other.
bool Overlap(const AxisPlacement& a, const AxisPlacement& b) {
  if (!IsShard(a) || !IsShard(b) || a.dim != b.dim || a == b) return false;
  return a.unit < b.unit * b.count && b.unit < a.unit * a.count;
}

// Local elements of a stretch of a dim: what lies between strides `high` and `low` of it.
int64_t Stretch(int dim, int64_t high, int64_t low, const Placement& placement,
                const Coordinates& at, size_t device) {
  int64_t size = high / low;
  for (size_t axis = 0; axis < placement.size(); ++axis) {
    const AxisPlacement& factor = placement[axis];
    if (!IsShard(factor) || factor.dim != dim || factor.unit < low ||
        factor.unit * factor.count > high) {
      continue;
    }
    bool seen = false;  // a factor that several axes split counts once
    for (size_t before = 0; before < axis; ++before) seen |= placement[before] == factor;
    if (seen) continue;
    size =
        size / factor.count * RangeOf(factor, placement, int(placement.size()), at, device).count;
  }
  return size;
}

// The local tensor seen as [before, factor, after], without the factor's own extent.
struct Around {
  int64_t before = 1;
  int64_t after = 1;
};

Around AroundFactor(const Shape& whole, const AxisPlacement& factor, const Placement& placement,
                    const Coordinates& at, size_t device) {
  Around around;
  for (int dim = 0; dim < whole.rank(); ++dim) {
    if (whole[dim] == 0) {
      (dim < factor.dim ? around.before : around.after) = 0;
      continue;
    }
    if (dim == factor.dim) {
      around.before *= Stretch(dim, whole[dim], factor.unit * factor.count, placement, at, device);
      around.after *= Stretch(dim, factor.unit, 1, placement, at, device);
    } else {
      (dim < factor.dim ? around.before : around.after) *=
          Stretch(dim, whole[dim], 1, placement, at, device);
    }
  }
  return around;
}

std::vector<int64_t> ToExtents(const Shape& shape) { return {shape.begin(), shape.end()}; }

// One redistribution: keeps where the tensor lies by now.
class Move {
 public:
  Move(DevicesBuilder& builder, ValueId value, const Shape& whole, Placement from,
       const Placement& to, const Coordinates& at)
      : builder_(builder), value_(value), whole_(whole), now_(std::move(from)), to_(to), at_(at) {}

  absl::StatusOr<ValueId> Run() {
    MOAI_RETURN_IF_ERROR(ResolvePartials());
    for (int axis = at_.axes() - 1; axis >= 0; --axis) {
      if (!MustGather(axis)) continue;
      MOAI_RETURN_IF_ERROR(MayExchange(axis) ? Exchange(axis) : Gather(axis));
    }
    for (int axis = 0; axis < at_.axes(); ++axis) {
      if (now_[axis] == to_[axis]) continue;
      if (!IsShard(to_[axis])) {
        return absl::UnimplementedError(absl::StrCat("a tensor that is ", ToString(now_[axis]),
                                                     " along an axis cannot become ",
                                                     ToString(to_[axis])));
      }
      MOAI_ASSIGN_OR_RETURN(value_,
                            SliceLocally(builder_, value_, whole_, now_, axis, to_[axis], at_));
      now_[axis] = to_[axis];
    }
    return value_;
  }

 private:
  // Whether every axis before `axis` splits the factor now exactly if it shall in the end, and no
  // axis behind it does now: then `axis` may be added, or taken away, as the innermost.
  bool Innermost(int axis, const AxisPlacement& factor) const {
    for (int other = 0; other < int(now_.size()); ++other) {
      if (Overlap(now_[other], factor)) return false;
      if (other == axis) continue;
      const bool splits = now_[other] == factor;
      if (other > axis ? splits : splits != (to_[other] == factor)) return false;
    }
    return true;
  }

  absl::Status ResolvePartials() {
    for (int axis = at_.axes() - 1; axis >= 0; --axis) {
      if (!IsPartial(now_[axis]) || now_[axis] == to_[axis]) continue;
      const int32_t reduce = int32_t(now_[axis].reduce);
      if (IsShard(to_[axis]) && Innermost(axis, to_[axis])) {
        MOAI_RETURN_IF_ERROR(ReduceScatter(axis, reduce));
        continue;
      }
      MOAI_ASSIGN_OR_RETURN(value_, builder_.AddNode(Op::kAllReduce, {value_}, {axis, reduce}));
      now_[axis] = {};
    }
    return absl::OkStatus();
  }

  bool MustGather(int axis) const {
    if (!IsShard(now_[axis])) return false;
    if (!(now_[axis] == to_[axis])) return true;
    for (int before = 0; before < axis; ++before) {
      if ((now_[before] == now_[axis]) != (to_[before] == now_[axis])) return true;
    }
    return false;
  }

  bool MayExchange(int axis) const {
    if (!IsShard(to_[axis]) || now_[axis] == to_[axis]) return false;
    if (!Innermost(axis, to_[axis])) return false;
    for (int other = 0; other < int(now_.size()); ++other) {
      if (other > axis && now_[other] == now_[axis]) return false;
    }
    return true;
  }

  Shape LocalNow(size_t device) const { return LocalShapeAt(whole_, now_, at_, device); }

  // The current value as [before, n, after].
  absl::StatusOr<ValueId> View3(const AxisPlacement& factor, absl::Span<const int64_t> n) {
    DeviceExtents extents;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      const Around around = AroundFactor(whole_, factor, now_, at_, device);
      extents.push_back({around.before, n[device], around.after});
    }
    return builder_.AddNode(Op::kReshape, {value_}, {3}, extents);
  }

  // Sets value_ to the flat view of what lies as now_ says.
  absl::Status Unview(ValueId view) {
    DeviceExtents extents;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      extents.push_back(ToExtents(LocalNow(device)));
    }
    MOAI_ASSIGN_OR_RETURN(value_, builder_.AddNode(Op::kReshape, {view}, {whole_.rank()}, extents));
    return absl::OkStatus();
  }

  std::vector<int64_t> CountsBefore(const AxisPlacement& factor, int axis) const {
    std::vector<int64_t> counts;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      counts.push_back(RangeOf(factor, now_, axis, at_, device).count);
    }
    return counts;
  }

  // This device's part of each of `counts` along the axis.
  std::vector<int64_t> Parts(absl::Span<const int64_t> counts, int axis) const {
    std::vector<int64_t> parts;
    for (size_t device = 0; device < counts.size(); ++device) {
      parts.push_back(PartOf(counts[device], at_.extent(axis), at_.at(device, axis)));
    }
    return parts;
  }

  absl::Status ReduceScatter(int axis, int32_t reduce) {
    const AxisPlacement factor = to_[axis];
    const std::vector<int64_t> counts = CountsBefore(factor, axis);
    const std::vector<int64_t> parts = Parts(counts, axis);
    MOAI_ASSIGN_OR_RETURN(const ValueId view, View3(factor, counts));
    DeviceExtents extents;
    for (int64_t part : parts) extents.push_back({part, 1});
    MOAI_ASSIGN_OR_RETURN(const ValueId part,
                          builder_.AddNode(Op::kReduceScatter, {view}, {1, axis, reduce}, extents));
    now_[axis] = factor;
    return Unview(part);
  }

  absl::Status Gather(int axis) {
    const AxisPlacement factor = now_[axis];
    const std::vector<int64_t> counts = CountsBefore(factor, axis);
    MOAI_ASSIGN_OR_RETURN(const ValueId view, View3(factor, Parts(counts, axis)));
    DeviceExtents extents;
    for (int64_t count : counts) extents.push_back({count, 1});
    MOAI_ASSIGN_OR_RETURN(const ValueId joined,
                          builder_.AddNode(Op::kAllGather, {view}, {1, axis}, extents));
    now_[axis] = {};
    return Unview(joined);
  }

  // all_to_all: joins the factor that is split along the axis and splits the wanted one.
  absl::Status Exchange(int axis) {
    const AxisPlacement joined = now_[axis], split = to_[axis];
    const std::vector<int64_t> joined_counts = CountsBefore(joined, axis);
    const std::vector<int64_t> joined_parts = Parts(joined_counts, axis);
    const std::vector<int64_t> split_counts = CountsBefore(split, axis);
    const std::vector<int64_t> split_parts = Parts(split_counts, axis);
    const bool joined_first =
        joined.dim != split.dim ? joined.dim < split.dim : joined.unit > split.unit;
    const AxisPlacement& first = joined_first ? joined : split;
    const AxisPlacement& second = joined_first ? split : joined;
    DeviceExtents shape, extents;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      const int64_t before = AroundFactor(whole_, first, now_, at_, device).before;
      const int64_t after = AroundFactor(whole_, second, now_, at_, device).after;
      const int64_t between = Between(first, second, device);
      const int64_t m = joined_first ? joined_parts[device] : split_counts[device];
      const int64_t n = joined_first ? split_counts[device] : joined_parts[device];
      shape.push_back({before, m, between, n, after});
      extents.push_back({joined_counts[device], 1, split_parts[device], 1});
    }
    MOAI_ASSIGN_OR_RETURN(const ValueId view, builder_.AddNode(Op::kReshape, {value_}, {5}, shape));
    const int32_t join_axis = joined_first ? 1 : 3, split_axis = joined_first ? 3 : 1;
    MOAI_ASSIGN_OR_RETURN(
        const ValueId exchanged,
        builder_.AddNode(Op::kAllToAll, {view}, {join_axis, split_axis, axis}, extents));
    now_[axis] = split;
    return Unview(exchanged);
  }

  int64_t Between(const AxisPlacement& first, const AxisPlacement& second, size_t device) const {
    if (first.dim == second.dim) {
      return Stretch(first.dim, first.unit, second.unit * second.count, now_, at_, device);
    }
    int64_t size = Stretch(first.dim, first.unit, 1, now_, at_, device);
    for (int dim = first.dim + 1; dim < second.dim; ++dim) {
      size *= whole_[dim] == 0 ? 0 : Stretch(dim, whole_[dim], 1, now_, at_, device);
    }
    return size *
           Stretch(second.dim, whole_[second.dim], second.unit * second.count, now_, at_, device);
  }

  DevicesBuilder& builder_;
  ValueId value_;
  const Shape& whole_;
  Placement now_;
  const Placement& to_;
  const Coordinates& at_;
};

}  // namespace

LocalRange RangeOf(const AxisPlacement& factor, const Placement& placement, int axes,
                   const Coordinates& at, size_t device) {
  LocalRange range{0, factor.count};
  for (int axis = 0; axis < axes; ++axis) {
    if (!(placement[axis] == factor)) continue;
    const int64_t parts = at.extent(axis), part = at.at(device, axis);
    range.begin += PartBegin(range.count, parts, part);
    range.count = PartOf(range.count, parts, part);
  }
  return range;
}

Shape LocalShapeAt(const Shape& whole, const Placement& placement, const Coordinates& at,
                   size_t device) {
  Shape local = whole;
  for (int dim = 0; dim < whole.rank(); ++dim) {
    if (whole[dim] > 0) local[dim] = Stretch(dim, whole[dim], 1, placement, at, device);
  }
  return local;
}

absl::StatusOr<ValueId> SliceLocally(DevicesBuilder& builder, ValueId value, const Shape& whole,
                                     const Placement& from, int axis, const AxisPlacement& target,
                                     const Coordinates& at) {
  Placement to = from;
  to[axis] = target;
  // Where nothing lies outside the factor in its dim, the dim itself is sliced: a view.
  bool plain = true;
  std::vector<Around> arounds;
  std::vector<LocalRange> parts;
  std::vector<int64_t> counts;
  for (size_t device = 0; device < builder.devices(); ++device) {
    const int64_t count = RangeOf(target, from, axis, at, device).count;
    counts.push_back(count);
    const int64_t pieces = at.extent(axis), piece = at.at(device, axis);
    parts.push_back({PartBegin(count, pieces, piece), PartOf(count, pieces, piece)});
    arounds.push_back(AroundFactor(whole, target, from, at, device));
  }
  plain = target.outer == 1;
  DeviceExtents slice, shape;
  if (plain) {
    for (size_t device = 0; device < builder.devices(); ++device) {
      const int64_t unit = Stretch(target.dim, target.unit, 1, from, at, device);
      std::vector<int64_t> extents;
      for (int dim = 0; dim < whole.rank(); ++dim) {
        if (dim == target.dim) {
          extents.insert(extents.end(), {parts[device].begin * unit,
                                         (parts[device].begin + parts[device].count) * unit, 1});
        } else {
          extents.insert(extents.end(), {0, builder.shape(value, device)[dim], 1});
        }
      }
      slice.push_back(std::move(extents));
    }
    return builder.AddNode(Op::kSlice, {value}, {}, slice);
  }
  DeviceExtents view;
  for (size_t device = 0; device < builder.devices(); ++device) {
    const Around& around = arounds[device];
    const LocalRange& part = parts[device];
    view.push_back({around.before, counts[device], around.after});
    slice.push_back(
        {0, around.before, 1, part.begin, part.begin + part.count, 1, 0, around.after, 1});
    shape.push_back(ToExtents(LocalShapeAt(whole, to, at, device)));
  }
  MOAI_ASSIGN_OR_RETURN(ValueId sliced, builder.AddNode(Op::kReshape, {value}, {3}, view));
  MOAI_ASSIGN_OR_RETURN(sliced, builder.AddNode(Op::kSlice, {sliced}, {}, slice));
  return builder.AddNode(Op::kReshape, {sliced}, {whole.rank()}, shape);
}

absl::StatusOr<ValueId> ViewAround(DevicesBuilder& builder, ValueId value, const Shape& whole,
                                   const Placement& where, int axis, const Coordinates& at) {
  DeviceExtents view;
  for (size_t device = 0; device < builder.devices(); ++device) {
    const Around around = AroundFactor(whole, where[axis], where, at, device);
    const int64_t count = RangeOf(where[axis], where, axis + 1, at, device).count;
    view.push_back({around.before, count, around.after});
  }
  return builder.AddNode(Op::kReshape, {value}, {3}, view);
}

absl::StatusOr<ValueId> Redistribute(DevicesBuilder& builder, ValueId value, const Shape& whole,
                                     Placement from, const Placement& to, const Coordinates& at) {
  if (from == to) return value;
  return Move(builder, value, whole, std::move(from), to, at).Run();
}

double RedistributionBytes(double bytes, const Placement& from, const Placement& to,
                           const Mesh& mesh) {
  double sent = 0;
  double size = bytes;  // of what a device holds
  for (size_t axis = 0; axis < mesh.axes.size(); ++axis) {
    if (IsShard(from[axis])) size /= double(mesh.axes[axis].extent);
  }
  for (size_t axis = mesh.axes.size(); axis-- > 0;) {
    if (from[axis] == to[axis]) continue;
    const double p = double(mesh.axes[axis].extent), share = (p - 1) / p;
    if (IsPartial(from[axis])) {
      sent += (IsShard(to[axis]) ? 1 : 2) * share * size;
      if (IsShard(to[axis])) size /= p;
    } else if (IsShard(from[axis])) {
      if (IsShard(to[axis])) {
        sent += share * size;
      } else {
        size *= p;
        sent += share * size;
      }
    } else if (IsShard(to[axis])) {
      size /= p;
      sent += 1;  // free but for the copy: better than anything that sends, worse than nothing
    }
  }
  return sent;
}

}  // namespace moai
