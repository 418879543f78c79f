#include "program/step_account.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "graph/op_schema.h"
#include "program/collective_bytes.h"

namespace moai {

std::string ToString(const StepAccount& account) {
  std::string sent;
  for (const auto& [op, count] : account.sent) {
    absl::StrAppend(&sent, sent.empty() ? "" : ",", Name(op), ":", count.calls, ":", count.bytes);
  }
  return absl::StrCat("objects=", account.object_bytes, " arena=", account.arena_bytes,
                      " sent=", sent.empty() ? "-" : sent);
}

CollectiveCounts PredictCollectives(const DeviceGraph& part, absl::Span<const TensorType> types,
                                    uint32_t rank) {
  CollectiveCounts counts;
  for (const Node& node : part.graph->nodes) {
    if (!IsCollective(node.op)) continue;
    const auto group_number = size_t(node.attributes[size_t(Schema(node.op).group_attribute)]);
    if (group_number >= part.groups.size()) continue;
    const DeviceGroup& group = part.groups[group_number];
    const auto me = std::find(group.begin(), group.end(), rank);
    if (me == group.end()) continue;
    const TensorType& output = types[node.first_output];
    const TensorType& input = node.inputs.empty() ? output : types[node.inputs[0]];
    CollectiveCount& count = counts[node.op];
    ++count.calls;
    count.bytes +=
        CollectiveBytesSent(node.op, input, output, node.attributes, Extents(node, part.sizes),
                            int64_t(group.size()), me - group.begin());
  }
  return counts;
}

}  // namespace moai
