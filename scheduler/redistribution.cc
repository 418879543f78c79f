#include "scheduler/redistribution.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/partition/redistribute.h"

namespace moai {
namespace {

bool IsOnlyAt(const AxisPlacement& axis) { return axis.kind == PlacementKind::kOnlyAt; }

// As the tensor lies among those that have it, with an entry for time, which is whole.
Placement AmongMembers(Placement placement) {
  for (AxisPlacement& axis : placement) {
    if (IsOnlyAt(axis)) axis = {};
  }
  placement.push_back({});
  return placement;
}

// Whether the same devices have the tensor before and after, so that the others have no part in it.
bool SameMembers(const Layout& from, const Layout& to) {
  if (from.on_first_only() || to.on_first_only() || !(from.mesh == to.mesh)) {
    return from.on_first_only() && to.on_first_only();
  }
  for (size_t axis = 0; axis < from.placement.size(); ++axis) {
    if (!IsOnlyAt(from.placement[axis]) && !IsOnlyAt(to.placement[axis])) continue;
    if (!(from.placement[axis] == to.placement[axis])) return false;
  }
  return true;
}

// Records for some of the devices: their parts of the tensor, and where it lies by now.
class Recorder {
 public:
  Recorder(const TensorType& type, const Layout& from, std::vector<int64_t> devices)
      : whole_(type.shape),
        devices_(std::move(devices)),
        builder_(devices_.size()),
        now_(from),
        groups_(devices_.size()) {
    std::vector<Shape> shapes;
    for (size_t i = 0; i < devices_.size(); ++i) {
      shapes.push_back(LocalShape(whole_, from, devices_[i]));
      for (int axis = 0; axis < int(from.mesh.axes.size()); ++axis) {
        groups_[i].push_back(from.mesh.Group(devices_[i], axis));
      }
    }
    input_ = value_ = builder_.AddInput(InputKind::kValue, 0, type.dtype, shapes);
  }

  // From where it is alone to every device of the mesh.
  absl::Status Spread() {
    if (now_.on_first_only()) {
      MOAI_RETURN_IF_ERROR(Broadcast(Replicated(now_.mesh), [this](int64_t) {
        DeviceGroup everybody;
        for (int64_t device : devices_) everybody.push_back(uint32_t(device));
        return everybody;
      }));
    }
    for (int axis = 0; axis < int(now_.placement.size()); ++axis) {
      if (!IsOnlyAt(now_.placement[axis])) continue;
      const int64_t source = now_.placement[axis].coordinate;
      Layout spread = now_;
      spread.placement[axis] = {};
      MOAI_RETURN_IF_ERROR(Broadcast(spread, [&, axis, source](int64_t device) {
        DeviceGroup group = now_.mesh.Group(device, axis);
        std::rotate(group.begin(), group.begin() + source, group.end());
        return group;
      }));
    }
    return absl::OkStatus();
  }

  // Among those that have it; `to` is of the same mesh.
  absl::Status Redistribute(const Layout& to) {
    const Coordinates at{&now_.mesh, devices_, 1, 0};
    MOAI_ASSIGN_OR_RETURN(value_,
                          moai::Redistribute(builder_, value_, whole_, AmongMembers(now_.placement),
                                             AmongMembers(to.placement), at));
    now_ = to;
    return absl::OkStatus();
  }

  // It lies whole on every device, which may be seen as another mesh. From then on nothing is sent
  // any more: the groups are those of the first mesh.
  void Regard(const Mesh& mesh) { now_ = Replicated(mesh); }

  // Leaves nothing on devices that are not to have it.
  absl::Status Drop(const Layout& to) {
    now_ = to;
    // A number cannot be empty.
    if (whole_.rank() == 0) return absl::OkStatus();
    DeviceExtents slices;
    for (size_t i = 0; i < devices_.size(); ++i) {
      const bool keeps = IsMember(to, devices_[i]);
      std::vector<int64_t> slice;
      for (int64_t extent : builder_.shape(value_, i)) {
        slice.insert(slice.end(), {0, keeps ? extent : 0, 1});
      }
      slices.push_back(std::move(slice));
    }
    MOAI_ASSIGN_OR_RETURN(value_, builder_.AddNode(Op::kSlice, {value_}, {}, slices));
    return absl::OkStatus();
  }

  // Puts each device's graph at its place in `parts`.
  absl::Status Finish(std::vector<DeviceGraph>& parts) {
    if (value_ == input_) {
      // An output that is an input as it stands has no memory of its own.
      DeviceExtents same;
      for (size_t i = 0; i < devices_.size(); ++i) {
        const Shape& shape = builder_.shape(value_, i);
        same.push_back({shape.begin(), shape.end()});
      }
      MOAI_ASSIGN_OR_RETURN(value_,
                            builder_.AddNode(Op::kReshape, {value_}, {whole_.rank()}, same));
    }
    builder_.AddOutput(OutputKind::kValue, value_);
    std::vector<DeviceGraph> own = builder_.Finish(std::move(groups_));
    for (size_t i = 0; i < devices_.size(); ++i) parts[size_t(devices_[i])] = std::move(own[i]);
    return absl::OkStatus();
  }

 private:
  // The first of each group has it as it lies under `to`; in the end all do.
  template <typename GroupOf>
  absl::Status Broadcast(const Layout& to, GroupOf group_of) {
    DeviceExtents extents;
    const int32_t group = int32_t(groups_[0].size());
    for (size_t i = 0; i < devices_.size(); ++i) {
      const Shape shape = LocalShape(whole_, to, devices_[i]);
      extents.push_back({shape.begin(), shape.end()});
      groups_[i].push_back(group_of(devices_[i]));
    }
    if (groups_[0].back().size() > 1) {
      MOAI_ASSIGN_OR_RETURN(value_, builder_.AddNode(Op::kBroadcastFromFirst, {value_},
                                                     {group, whole_.rank()}, extents));
    }
    now_ = to;
    return absl::OkStatus();
  }

  const Shape whole_;
  const std::vector<int64_t> devices_;
  DevicesBuilder builder_;
  Layout now_;
  // By device: along the axes of the mesh, then for each broadcast.
  std::vector<std::vector<DeviceGroup>> groups_;
  ValueId input_ = 0, value_ = 0;
};

// The whole of it may pass through every device.
absl::Status ByWayOfAll(const Layout& to, Recorder& recorder, const Layout& from) {
  MOAI_RETURN_IF_ERROR(recorder.Spread());
  if (!(from.mesh == to.mesh)) {
    MOAI_RETURN_IF_ERROR(recorder.Redistribute(Replicated(from.mesh)));
    recorder.Regard(to.mesh);
  }
  Layout everywhere = to;
  for (AxisPlacement& axis : everywhere.placement) {
    if (IsOnlyAt(axis)) axis = {};
  }
  MOAI_RETURN_IF_ERROR(recorder.Redistribute(everywhere));
  return everywhere == to ? absl::OkStatus() : recorder.Drop(to);
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
  const bool same_members = SameMembers(from, to);
  std::vector<int64_t> members, others;
  for (int64_t device = 0; device < devices; ++device) {
    (!same_members || IsMember(from, device) ? members : others).push_back(device);
  }
  std::vector<DeviceGraph> parts(static_cast<size_t>(devices));
  Recorder recorder(type, from, std::move(members));
  MOAI_RETURN_IF_ERROR(!same_members          ? ByWayOfAll(to, recorder, from)
                       : from.on_first_only() ? absl::OkStatus()
                                              : recorder.Redistribute(to));
  MOAI_RETURN_IF_ERROR(recorder.Finish(parts));
  if (!others.empty()) MOAI_RETURN_IF_ERROR(Recorder(type, from, others).Finish(parts));
  return parts;
}

}  // namespace moai
