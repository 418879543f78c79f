#include "server/layout_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace moai {
namespace {

bool IsReplicated(const Layout& layout) {
  return std::all_of(layout.placement.begin(), layout.placement.end(), [](const auto& placement) {
    return placement.kind == PlacementKind::kReplicate;
  });
}

// Everything that Layout's equality compares.
std::string KeyOf(const Layout& layout) {
  std::string key;
  for (const MeshAxis& axis : layout.mesh.axes)
    absl::StrAppend(&key, axis.name, "=", axis.extent, ";");
  for (const AxisPlacement& p : layout.placement) {
    absl::StrAppend(&key, int(p.kind), ",", int(p.reduce), ",", int(p.dim), ",", p.outer, ",",
                    p.count, ",", p.unit, ",", p.coordinate, ";");
  }
  return key;
}

}  // namespace

LayoutTable::LayoutTable(size_t devices) : devices_(devices) {
  Mesh mesh;
  if (devices > 1) mesh.axes.push_back({"devices", int64_t(devices)});
  layouts_.push_back(OnFirstDevice(mesh));
  if (devices > 1) layouts_.push_back(Replicated(mesh));
}

absl::StatusOr<LayoutId> LayoutTable::Intern(const Layout& layout) {
  if (devices_ == 1 || layout.on_first_only()) return kOnFirstDevice;
  if (IsReplicated(layout)) return ReplicatedLayout(devices_);
  if (int64_t(devices_) != layout.mesh.DeviceCount()) {
    return absl::InternalError(
        absl::StrCat("the layout \"", ToString(layout), "\" is not one of ", devices_, " devices"));
  }
  std::string key = KeyOf(layout);
  if (auto found = ids_.find(key); found != ids_.end()) return found->second;
  if (layouts_.size() >= kMaxLayouts) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the session's tensors lie in ", layouts_.size(), " ways; no more are allowed"));
  }
  layouts_.push_back(layout);
  const LayoutId id = LayoutId(layouts_.size() - 1);
  ids_.emplace(std::move(key), id);
  return id;
}

}  // namespace moai
