#include "scheduler/redistribution.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/builder.h"

namespace moai {
namespace {

bool IsReplicated(const Layout& layout) {
  return !layout.on_first_only() &&
         std::all_of(layout.placement.begin(), layout.placement.end(),
                     [](const AxisPlacement& p) { return p.kind == PlacementKind::kReplicate; });
}

absl::StatusOr<CapturedGraph> BroadcastFrom(const TensorType& local, const TensorType& whole) {
  GraphBuilder builder;
  const ValueId part = builder.AddInput(InputKind::kValue, 0, local);
  const int32_t attributes[] = {/*group=*/0, /*rank=*/whole.shape.rank()};
  MOAI_ASSIGN_OR_RETURN(const ValueId result, builder.AddNode(Op::kBroadcastFromFirst, {part},
                                                              attributes, whole.shape.span()));
  builder.AddOutput(OutputKind::kValue, result);
  return builder.Finish();
}

}  // namespace

absl::StatusOr<std::vector<DeviceGraph>> MakeRedistribution(const TensorType& type,
                                                            const Layout& from, const Layout& to) {
  const int64_t devices = to.mesh.DeviceCount();
  if (!from.on_first_only() || !IsReplicated(to) || from.mesh.DeviceCount() != devices) {
    return absl::UnimplementedError(absl::StrCat("no way yet from \"", ToString(from), "\" to \"",
                                                 ToString(to), "\" for ", ToString(type)));
  }
  DeviceGroup everybody(static_cast<size_t>(devices));
  std::iota(everybody.begin(), everybody.end(), 0);
  std::vector<DeviceGraph> parts;
  std::shared_ptr<const Graph> graph;
  for (int64_t device = 0; device < devices; ++device) {
    const TensorType local{type.dtype, LocalShape(type.shape, from, device)};
    MOAI_ASSIGN_OR_RETURN(CapturedGraph captured, BroadcastFrom(local, type));
    if (graph == nullptr) graph = std::make_shared<const Graph>(std::move(captured.graph));
    parts.push_back({graph, std::move(captured.sizes), {everybody}, {}});
  }
  return parts;
}

}  // namespace moai
