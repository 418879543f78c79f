// Where the elements of a tensor lie: a mesh of devices, and for each of its axes whether the
// devices along it hold the same (Replicate), parts (Shard) or terms that are still to be combined
// (Partial). The terms are those of PyTorch's DTensor; a Shard may also split a factor of a dim.
//
// Plain data.
#ifndef MOAI_SCHEDULER_PLACEMENT_H_
#define MOAI_SCHEDULER_PLACEMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "graph/shape.h"
#include "graph/signature.h"

namespace moai {

struct MeshAxis {
  std::string name;  // "data", "model", ...
  int64_t extent = 1;
  friend bool operator==(const MeshAxis&, const MeshAxis&) = default;
};

// Devices 0 .. DeviceCount() - 1 of a session in row-major order of their coordinates.
struct Mesh {
  std::vector<MeshAxis> axes;

  int64_t DeviceCount() const;
  // Position of a device along an axis.
  int64_t Coordinate(int64_t device, int axis) const;
  // The devices that differ from `device` along `axis` only, in the order of their coordinates.
  std::vector<uint32_t> Group(int64_t device, int axis) const;
  friend bool operator==(const Mesh&, const Mesh&) = default;
};

// kOnlyAt: the devices at one coordinate of the axis have it, the others nothing: what lives on a
// stage of a pipeline.
enum class PlacementKind : uint8_t { kReplicate, kShard, kPartial, kOnlyAt };

// Along one mesh axis. A sharded dim has outer * count * unit elements: seen as [outer, count,
// unit], the middle is split, as evenly as can be (PartOf). A plain split of a dim of n elements is
// outer 1, count n, unit 1; of heads that were joined with their size, unit is that size.
struct AxisPlacement {
  PlacementKind kind = PlacementKind::kReplicate;
  ReduceKind reduce = ReduceKind::kNone;  // kPartial
  int8_t dim = 0;                         // kShard
  int64_t outer = 1;
  int64_t count = 1;
  int64_t unit = 1;
  int64_t coordinate = 0;  // kOnlyAt
  friend bool operator==(const AxisPlacement&, const AxisPlacement&) = default;
};

// One entry for each axis of a mesh. Axes that split the same factor nest: the first splits the
// whole, the next each of its parts.
using Placement = absl::InlinedVector<AxisPlacement, 4>;

// How an object of a session lies on the session's devices.
struct Layout {
  Mesh mesh;
  Placement placement;  // empty: only the first device has it, whole (as it came from a client)
  bool on_first_only() const { return placement.empty(); }
  friend bool operator==(const Layout&, const Layout&) = default;
};

// The whole tensor on every device.
Layout Replicated(const Mesh& mesh);
Layout OnFirstDevice(const Mesh& mesh);

inline AxisPlacement OnlyAt(int64_t coordinate) {
  return {.kind = PlacementKind::kOnlyAt, .coordinate = coordinate};
}

// Whether `device` is at the coordinates to which the placement confines a tensor.
bool IsMember(const Layout& layout, int64_t device);
// What `device` holds of a tensor of this shape. On a device that has nothing: all extents 0 (of a
// tensor of no dims, an element that nobody reads).
Shape LocalShape(const Shape& shape, const Layout& layout, int64_t device);
// True where `device` holds every element, combined.
bool HoldsAll(const Layout& layout, const Shape& shape, int64_t device);

std::string ToString(const AxisPlacement& placement);
std::string ToString(const Layout& layout);  // "data=4: Shard(0), model=2: Replicate"

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLACEMENT_H_
