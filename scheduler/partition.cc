#include "scheduler/partition.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace moai {

absl::StatusOr<std::vector<DeviceGraph>> Partition(const Plan& plan,
                                                   std::shared_ptr<const Graph> graph,
                                                   absl::Span<const int64_t> sizes) {
  if (plan.memory.size() != 1) {
    return absl::UnimplementedError(
        absl::StrCat("graphs are not split over devices: the plan has ", plan.memory.size()));
  }
  std::vector<DeviceGraph> parts;
  parts.push_back({0, std::move(graph), Sizes(sizes.begin(), sizes.end())});
  return parts;
}

}  // namespace moai
