#include "scheduler/redistribution.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/partition/redistribute.h"

namespace moai {
namespace {

// The placement with an entry for time, which is whole.
Placement WithTime(Placement placement) {
  placement.push_back({});
  return placement;
}

}  // namespace

absl::StatusOr<std::vector<DeviceGraph>> MakeRedistribution(const TensorType& type,
                                                            const Layout& from, const Layout& to) {
  const int64_t devices = from.mesh.DeviceCount();
  if (to.mesh.DeviceCount() != devices) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a tensor on ", devices, " devices cannot be brought to ", to.mesh.DeviceCount()));
  }
  if (to.on_first_only() && !from.on_first_only()) {
    return absl::UnimplementedError("tensors are not brought to the first device alone");
  }
  Coordinates at{&from.mesh, {}, 1, 0};
  std::vector<std::vector<DeviceGroup>> groups(static_cast<size_t>(devices));
  DeviceGroup everybody;
  std::vector<Shape> shapes;
  for (int64_t device = 0; device < devices; ++device) {
    at.devices.push_back(device);
    everybody.push_back(static_cast<uint32_t>(device));
    shapes.push_back(LocalShape(type.shape, from, device));
    for (int axis = 0; axis < at.axes(); ++axis) {
      groups[size_t(device)].push_back(from.mesh.Group(device, axis));
    }
  }
  for (auto& own : groups) own.push_back(everybody);

  DevicesBuilder builder(static_cast<size_t>(devices));
  ValueId value = builder.AddInput(InputKind::kValue, 0, type.dtype, shapes);
  const ValueId input = value;
  Placement now = from.placement;
  if (from.on_first_only() && !to.on_first_only()) {
    now = Replicated(from.mesh).placement;
    if (devices > 1) {
      MOAI_ASSIGN_OR_RETURN(
          value, builder.AddNode(Op::kBroadcastFromFirst, {value}, {at.axes(), type.shape.rank()},
                                 {{type.shape.begin(), type.shape.end()}}));
    }
  }
  if (!to.on_first_only()) {
    const bool same_mesh = from.mesh == to.mesh;
    // Between meshes, by way of the whole.
    const Placement middle = same_mesh ? to.placement : Replicated(from.mesh).placement;
    MOAI_ASSIGN_OR_RETURN(
        value, Redistribute(builder, value, type.shape, WithTime(now), WithTime(middle), at));
    if (!same_mesh) {
      at.mesh = &to.mesh;
      MOAI_ASSIGN_OR_RETURN(
          value, Redistribute(builder, value, type.shape, WithTime(Replicated(to.mesh).placement),
                              WithTime(to.placement), at));
    }
  }
  if (value == input) {
    // An output that is an input as it stands has no memory of its own.
    DeviceExtents same;
    for (const Shape& shape : shapes) same.push_back({shape.begin(), shape.end()});
    MOAI_ASSIGN_OR_RETURN(value, builder.AddNode(Op::kReshape, {value}, {type.shape.rank()}, same));
  }
  builder.AddOutput(OutputKind::kValue, value);
  return builder.Finish(std::move(groups));
}

}  // namespace moai
