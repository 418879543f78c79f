// Moves a tensor from one placement to another: the collectives, slices and views that do it.
#ifndef MOAI_SCHEDULER_PARTITION_REDISTRIBUTE_H_
#define MOAI_SCHEDULER_PARTITION_REDISTRIBUTE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "scheduler/partition/devices_builder.h"
#include "scheduler/placement.h"

namespace moai {

// Where the recorded devices stand, along the mesh's axes and, behind them, along time: the
// micro-batch for which nodes are recorded at the moment.
struct Coordinates {
  const Mesh* mesh = nullptr;
  std::vector<int64_t> devices;  // recorded by the builder, in its order
  int64_t micro_batches = 1;
  int64_t micro_batch = 0;

  int axes() const { return int(mesh->axes.size()); }
  // `axis` may be axes(): time.
  int64_t extent(int axis) const {
    return axis == axes() ? micro_batches : mesh->axes[axis].extent;
  }
  int64_t at(size_t device, int axis) const {
    return axis == axes() ? micro_batch : mesh->Coordinate(devices[device], axis);
  }
};

// One factor of a tensor on one device.
struct LocalRange {
  int64_t begin = 0;  // in units, among all of the factor
  int64_t count = 0;
};

// What is left of a factor after time and those of the first `axes` axes of the mesh that split it:
// each axis of the mesh splits what a micro-batch has. The placement has an entry for each axis of
// the coordinates, and may have one for time behind them.
LocalRange RangeOf(const AxisPlacement& factor, const Placement& placement, int axes,
                   const Coordinates& at, size_t device);

// The local extents of a tensor.
Shape LocalShapeAt(const Shape& whole, const Placement& placement, const Coordinates& at,
                   size_t device);

// Splits the local tensor along `axis` at `target`, which is a Shard. The axis may be time where no
// axis of the mesh splits the same factor.
absl::StatusOr<ValueId> SliceLocally(DevicesBuilder& builder, ValueId value, const Shape& whole,
                                     const Placement& from, int axis, const AxisPlacement& target,
                                     const Coordinates& at);

// The local tensor as [before, factor, after] of what is split along `axis`.
absl::StatusOr<ValueId> ViewAround(DevicesBuilder& builder, ValueId value, const Shape& whole,
                                   const Placement& where, int axis, const Coordinates& at);

// `value` lies as `from` and is wanted as `to`; the entries of time are equal. Groups are numbered
// like the mesh's axes. Unimplemented where a Partial would have to be made from something else.
absl::StatusOr<ValueId> Redistribute(DevicesBuilder& builder, ValueId value, const Shape& whole,
                                     Placement from, const Placement& to, const Coordinates& at);

// Bytes that a device sends at most, roughly: for choosing between sources.
double RedistributionBytes(double bytes, const Placement& from, const Placement& to,
                           const Mesh& mesh);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_REDISTRIBUTE_H_
