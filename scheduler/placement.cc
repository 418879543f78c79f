#include "scheduler/placement.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "program/device_graph.h"

namespace moai {

int64_t Mesh::DeviceCount() const {
  int64_t count = 1;
  for (const MeshAxis& axis : axes) count *= axis.extent;
  return count;
}

int64_t Mesh::Coordinate(int64_t device, int axis) const {
  int64_t inner = 1;
  for (size_t i = size_t(axis) + 1; i < axes.size(); ++i) inner *= axes[i].extent;
  return device / inner % axes[axis].extent;
}

std::vector<uint32_t> Mesh::Group(int64_t device, int axis) const {
  int64_t inner = 1;
  for (size_t i = size_t(axis) + 1; i < axes.size(); ++i) inner *= axes[i].extent;
  const int64_t first = device - Coordinate(device, axis) * inner;
  std::vector<uint32_t> group;
  for (int64_t i = 0; i < axes[axis].extent; ++i) group.push_back(uint32_t(first + i * inner));
  return group;
}

Layout Replicated(const Mesh& mesh) { return {mesh, Placement(mesh.axes.size())}; }
Layout OnFirstDevice(const Mesh& mesh) { return {mesh, {}}; }

bool IsMember(const Layout& layout, int64_t device) {
  if (layout.on_first_only()) return device == 0;
  for (int axis = 0; axis < int(layout.placement.size()); ++axis) {
    const AxisPlacement& placement = layout.placement[axis];
    if (placement.kind == PlacementKind::kOnlyAt &&
        layout.mesh.Coordinate(device, axis) != placement.coordinate) {
      return false;
    }
  }
  return true;
}

Shape LocalShape(const Shape& shape, const Layout& layout, int64_t device) {
  if (!IsMember(layout, device)) return Shape::Filled(shape.rank(), 0);
  Shape local = shape;
  for (int axis = 0; axis < int(layout.placement.size()); ++axis) {
    const AxisPlacement& split = layout.placement[axis];
    if (split.kind != PlacementKind::kShard) continue;
    // What is left of the factor after the axes before that split the same one.
    int64_t count = split.count;
    for (int before = 0; before < axis; ++before) {
      if (!(layout.placement[before] == split)) continue;
      count =
          PartOf(count, layout.mesh.axes[before].extent, layout.mesh.Coordinate(device, before));
    }
    if (count == 0) continue;  // nothing is left already
    const int64_t part =
        PartOf(count, layout.mesh.axes[axis].extent, layout.mesh.Coordinate(device, axis));
    local[split.dim] = local[split.dim] / count * part;
  }
  return local;
}

bool HoldsAll(const Layout& layout, const Shape& shape, int64_t device) {
  for (const AxisPlacement& placement : layout.placement) {
    if (placement.kind == PlacementKind::kPartial) return false;
  }
  return IsMember(layout, device) && LocalShape(shape, layout, device) == shape;
}

std::string ToString(const AxisPlacement& placement) {
  switch (placement.kind) {
    case PlacementKind::kReplicate:
      return "Replicate";
    case PlacementKind::kPartial:
      return "Partial";
    case PlacementKind::kOnlyAt:
      return absl::StrCat("OnlyAt(", placement.coordinate, ")");
    case PlacementKind::kShard:
      break;
  }
  if (placement.outer == 1 && placement.unit == 1)
    return absl::StrCat("Shard(", placement.dim, ")");
  return absl::StrCat("Shard(", placement.dim, " as ", placement.outer, "x", placement.count, "x",
                      placement.unit, ")");
}

std::string ToString(const Layout& layout) {
  if (layout.on_first_only()) return "on the first device";
  std::vector<std::string> words;
  for (size_t i = 0; i < layout.placement.size(); ++i) {
    const MeshAxis& axis = layout.mesh.axes[i];
    words.push_back(absl::StrCat(axis.name, "=", axis.extent, ": ", ToString(layout.placement[i])));
  }
  return words.empty() ? "one device" : absl::StrJoin(words, ", ");
}

}  // namespace moai
