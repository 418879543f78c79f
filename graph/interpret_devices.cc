#include "graph/interpret_devices.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/op_schema.h"
#include "graph/reference_collective.h"
#include "graph/reference_execution.h"
#include "graph/verify.h"

namespace moai {
namespace {

using Group = std::vector<uint32_t>;

// One device under way.
struct Device {
  const DeviceRun* run = nullptr;
  std::vector<TensorType> types;
  std::unique_ptr<reference::Execution> execution;

  // False also for one that has met the others and has nodes of its own to run.
  bool waits() const { return !execution->done() && IsCollective(execution->node().op); }
  // Of the collective at which it stands. Requires waits().
  const Group& group() const {
    const Node& node = execution->node();
    return (*run->groups)[node.attributes[Schema(node.op).group_attribute]];
  }
};

absl::Status OnDevice(size_t device, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("device ", device, ": ", status.message()));
}

// A group that the device is not in is empty: nothing may name it.
absl::Status CheckGroup(const Group& group, size_t device, size_t devices) {
  if (group.empty()) return absl::OkStatus();
  for (size_t i = 0; i < group.size(); ++i) {
    if (group[i] >= devices) {
      return absl::InternalError(
          absl::StrCat("device ", group[i], " of a group is not one of the ", devices));
    }
    if (std::find(group.begin(), group.begin() + i, group[i]) != group.begin() + i) {
      return absl::InternalError(absl::StrCat("device ", group[i], " is in a group twice"));
    }
  }
  if (std::find(group.begin(), group.end(), device) != group.end()) return absl::OkStatus();
  return absl::InternalError("a group does not contain its own device");
}

absl::Status CheckGroups(const DeviceRun& run, size_t device, size_t devices) {
  const size_t count = run.groups == nullptr ? 0 : run.groups->size();
  for (size_t i = 0; i < count; ++i) {
    MOAI_RETURN_IF_ERROR(CheckGroup((*run.groups)[i], device, devices));
  }
  for (size_t i = 0; i < run.graph->nodes.size(); ++i) {
    const Node& node = run.graph->nodes[i];
    if (!IsCollective(node.op)) continue;
    const size_t group = static_cast<size_t>(node.attributes[Schema(node.op).group_attribute]);
    if (group < count && !(*run.groups)[group].empty()) continue;
    if (group < count) {
      return absl::InternalError(absl::StrCat("node ", i, " (", Name(node.op), "): group ", group,
                                              " does not contain its own device"));
    }
    return absl::InternalError(absl::StrCat("node ", i, " (", Name(node.op), "): group ", group,
                                            " is not one of the device's ", count));
  }
  return absl::OkStatus();
}

class Session {
 public:
  absl::Status Start(absl::Span<const DeviceRun> runs, const InterpreterOptions& options) {
    devices_.resize(runs.size());
    for (size_t d = 0; d < runs.size(); ++d) {
      const absl::Status status = StartDevice(d, runs, options);
      if (!status.ok()) return OnDevice(d, status);
    }
    return absl::OkStatus();
  }

  absl::Status Run() {
    while (true) {
      for (size_t d = 0; d < devices_.size(); ++d) {
        reference::Execution& execution = *devices_[d].execution;
        const absl::Status status = execution.Run();
        if (!status.ok()) return OnDevice(d, reference::AtNode(status, execution));
      }
      MOAI_ASSIGN_OR_RETURN(const bool met, Meet());
      if (met) continue;
      return AnyWaits() ? Deadlock() : absl::OkStatus();
    }
  }

  std::vector<std::vector<ReferenceTensor>> Outputs() const {
    std::vector<std::vector<ReferenceTensor>> outputs;
    for (const Device& device : devices_) outputs.push_back(device.execution->Outputs());
    return outputs;
  }

 private:
  absl::Status StartDevice(size_t d, absl::Span<const DeviceRun> runs,
                           const InterpreterOptions& options) {
    const DeviceRun& run = runs[d];
    Device& device = devices_[d];
    device.run = &run;
    MOAI_RETURN_IF_ERROR(VerifyStructure(*run.graph, {.allow_collectives = true}));
    MOAI_RETURN_IF_ERROR(CheckGroups(run, d, runs.size()));
    MOAI_ASSIGN_OR_RETURN(device.types, InferGraph(*run.graph, run.sizes));
    device.execution = std::make_unique<reference::Execution>(*run.graph, run.sizes, device.types,
                                                              options.round_to_dtype);
    return device.execution->BindInputs(run.bindings);
  }

  bool AnyWaits() const {
    return std::any_of(devices_.begin(), devices_.end(),
                       [](const Device& device) { return device.waits(); });
  }

  // Carries out every collective whose members all stand at it. False where there was none.
  absl::StatusOr<bool> Meet() {
    bool met = false;
    for (size_t d = 0; d < devices_.size(); ++d) {
      // Each group is looked at once, through its first member.
      if (!devices_[d].waits() || devices_[d].group()[0] != d) continue;
      const Group group = devices_[d].group();
      const bool all_here = std::all_of(group.begin(), group.end(), [&](uint32_t member) {
        return devices_[member].waits() && devices_[member].group() == group;
      });
      if (!all_here) continue;
      MOAI_RETURN_IF_ERROR(CarryOut(group));
      met = true;
    }
    return met;
  }

  absl::Status CarryOut(const Group& group) {
    std::vector<reference::Member> members;
    for (uint32_t d : group) {
      const reference::Execution& execution = *devices_[d].execution;
      const Node& node = execution.node();
      members.push_back({.node = node,
                         .extents = Extents(node, devices_[d].run->sizes),
                         .input = node.inputs.empty() ? nullptr : &execution.input(0),
                         .output = execution.output_type()});
    }
    absl::StatusOr<std::vector<ReferenceTensor>> results = reference::RunCollective(members);
    if (!results.ok()) {
      return absl::Status(results.status().code(),
                          absl::StrCat(Places(group), ": ", results.status().message()));
    }
    for (size_t m = 0; m < group.size(); ++m) {
      devices_[group[m]].execution->Finish(std::move((*results)[m]));
    }
    return absl::OkStatus();
  }

  // "device 0 at node 3 (send), device 1 at node 4 (recv)"
  std::string Places(const Group& devices) const {
    return absl::StrJoin(devices, ", ", [&](std::string* out, uint32_t d) {
      const reference::Execution& execution = *devices_[d].execution;
      absl::StrAppend(out, "device ", d, " at node ", execution.position(), " (",
                      Name(execution.node().op), ")");
    });
  }

  absl::Status Deadlock() const {
    std::vector<std::string> waiting;
    for (size_t d = 0; d < devices_.size(); ++d) {
      const Device& device = devices_[d];
      waiting.push_back(device.waits()
                            ? absl::StrCat(Places({static_cast<uint32_t>(d)}), " for devices ",
                                           absl::StrJoin(device.group(), " "))
                            : absl::StrCat("device ", d, " is done"));
    }
    return absl::InternalError(
        absl::StrCat("devices wait for each other for ever: ", absl::StrJoin(waiting, "; ")));
  }

  std::vector<Device> devices_;
};

}  // namespace

absl::StatusOr<std::vector<std::vector<ReferenceTensor>>> InterpretDevices(
    absl::Span<const DeviceRun> runs, const InterpreterOptions& options) {
  Session session;
  MOAI_RETURN_IF_ERROR(session.Start(runs, options));
  MOAI_RETURN_IF_ERROR(session.Run());
  return session.Outputs();
}

}  // namespace moai
