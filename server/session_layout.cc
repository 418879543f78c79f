// Where the objects of a SessionCore lie on its devices, and how they are brought to where a step
// wants them; what the executors are told of programs.
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/status.h"
#include "graph/fingerprint.h"
#include "graph/infer.h"
#include "graph/serialize.h"
#include "scheduler/fit.h"
#include "server/id_ranges.h"
#include "server/session_core.h"
#include "spdlog/spdlog.h"

namespace moai {
namespace {

absl::Status Number(const std::vector<Layout>& layouts, LayoutTable& table,
                    std::vector<LayoutId>& ids) {
  ids.clear();
  for (const Layout& layout : layouts) {
    MOAI_ASSIGN_OR_RETURN(const LayoutId id, table.Intern(layout));
    ids.push_back(id);
  }
  return absl::OkStatus();
}

bool HasCollectives(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [](const Node& node) { return IsCollective(node.op); });
}

std::vector<CollectiveCounts> PredictAll(const std::vector<DeviceGraph>& parts) {
  std::vector<CollectiveCounts> sent;
  for (const DeviceGraph& part : parts) {
    const auto types = InferGraph(*part.graph, part.sizes);
    sent.emplace_back();
    if (types.ok()) sent.back() = PredictCollectives(part, *types, uint32_t(sent.size() - 1));
  }
  return sent;
}

}  // namespace

absl::Status SessionCore::NumberLayouts(PlannedProgram& planned) {
  if (planned.layouts_known) return absl::OkStatus();
  const Plan& plan = *planned.plan;
  MOAI_RETURN_IF_ERROR(Number(plan.slot_layouts, layouts_, planned.slot_layouts));
  MOAI_RETURN_IF_ERROR(Number(plan.value_layouts, layouts_, planned.value_layouts));
  MOAI_RETURN_IF_ERROR(Number(plan.output_layouts, layouts_, planned.output_layouts));
  planned.layouts_known = true;
  return absl::OkStatus();
}

int64_t SessionCore::OtherBytes(const proto::Step& step, const RegisteredGraph& graph) const {
  std::vector<uint64_t> bound;
  // More than the graph binds are refused later.
  if (step.same_slots()) {
    bound = graph.slots;
  } else {
    AppendIds(step.slots(), graph.graph->slot_count, bound);
  }
  AppendIds(step.values(), graph.graph->value_count, bound);
  return BytesBeside(std::move(bound));
}

int64_t SessionCore::BytesBeside(std::vector<uint64_t> ids) const {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  int64_t most = 0;
  for (size_t device = 0; device < settings_.devices.size(); ++device) {
    int64_t others = objects_.live_bytes(device);
    for (const uint64_t id : ids) others -= objects_.BytesOn(device, id);
    most = std::max(most, others);
  }
  return most;
}

absl::Status SessionCore::CheckFit(const std::vector<StepMemory>& step) const {
  const size_t count = settings_.devices.size();
  for (size_t device = 0; device < count; ++device) {
    MOAI_RETURN_IF_ERROR(CheckFits(step[device], objects_.live_bytes(device),
                                   settings_.devices[device].memory_bytes, settings_.flavors,
                                   {.device = device, .count = count}));
  }
  return absl::OkStatus();
}

absl::Status SessionCore::Arrange(proto::Step& step, RegisteredGraph& graph,
                                  const PlannedProgram& planned) {
  if (settings_.devices.size() == 1) return absl::OkStatus();
  MOAI_RETURN_IF_ERROR(ArrangeSlots(graph, planned));
  MOAI_RETURN_IF_ERROR(ArrangeFeeds(step));
  return ArrangeValues(step, graph, planned);
}

absl::Status SessionCore::ArrangeSlots(RegisteredGraph& graph, const PlannedProgram& planned) {
  if (graph.arranged_plan == &planned && graph.arranged_version == objects_.slots_version()) {
    return absl::OkStatus();
  }
  for (size_t i = 0; i < graph.slots.size(); ++i) {
    if (planned.plan->slot_created[i]) continue;
    MOAI_RETURN_IF_ERROR(Move(graph.slots[i], planned.slot_layouts[i]));
  }
  graph.arranged_plan = &planned;
  graph.arranged_version = objects_.slots_version();
  return absl::OkStatus();
}

// Feeds are whole on every device.
absl::Status SessionCore::ArrangeFeeds(const proto::Step& step) {
  for (const proto::Feed& feed : step.feeds()) {
    if (feed.source_case() != proto::Feed::kUploaded) continue;
    MOAI_RETURN_IF_ERROR(Move(feed.uploaded(), ReplicatedLayout(settings_.devices.size())));
  }
  return absl::OkStatus();
}

absl::Status SessionCore::ArrangeValues(proto::Step& step, const RegisteredGraph& graph,
                                        const PlannedProgram& planned) {
  std::vector<uint64_t> ids;
  bool as_wanted = true;
  for (const proto::IdRange& range : step.values()) {
    for (uint64_t k = 0; k < range.count(); ++k) {
      ids.push_back(range.first() + k);
      as_wanted =
          as_wanted && objects_.Find(ids.back())->layout == planned.value_layouts[ids.size() - 1];
    }
  }
  if (as_wanted) return absl::OkStatus();
  // What another binding of the step wants where it lies stays there; this one gets a copy.
  absl::flat_hash_map<uint64_t, LayoutId> settled;
  for (size_t i = 0; i < graph.slots.size(); ++i) {
    if (!planned.plan->slot_created[i]) settled[graph.slots[i]] = planned.slot_layouts[i];
  }
  for (const proto::Feed& feed : step.feeds()) {
    if (feed.source_case() != proto::Feed::kUploaded) continue;
    settled[feed.uploaded()] = ReplicatedLayout(settings_.devices.size());
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const LayoutId wanted = planned.value_layouts[i];
    if (objects_.Find(ids[i])->layout == wanted) settled[ids[i]] = wanted;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const LayoutId wanted = planned.value_layouts[i];
    if (settled.try_emplace(ids[i], wanted).first->second == wanted) {
      MOAI_RETURN_IF_ERROR(Move(ids[i], wanted));
      continue;
    }
    MOAI_ASSIGN_OR_RETURN(ids[i], CopyAs(ids[i], wanted));
    temporaries_.push_back(ids[i]);
  }
  step.clear_values();
  AppendRanges(ids, step.mutable_values());
  return absl::OkStatus();
}

absl::Status SessionCore::Move(uint64_t id, LayoutId to) {
  if (objects_.Find(id)->layout == to) return absl::OkStatus();
  MOAI_ASSIGN_OR_RETURN(const uint64_t copy, CopyAs(id, to));
  command_.Clear();
  command_.mutable_rename()->set_from(copy);
  command_.mutable_rename()->set_to(id);
  SendToDevices(command_);
  objects_.Rename(copy, id);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> SessionCore::CopyAs(uint64_t id, LayoutId to) {
  const TensorType type = objects_.Find(id)->type;
  const LayoutId from = objects_.Find(id)->layout;
  MOAI_ASSIGN_OR_RETURN(Redistribution * redistribution,
                        redistributions_.Find(type, from, to, layouts_,
                                              [this] { return registry_.NewProgramName(); }));
  MOAI_RETURN_IF_ERROR(CheckFit(redistribution->memory));
  Load(redistribution->parts, nullptr, redistribution->loaded);
  const uint64_t copy = next_own_id_++;
  LogExecution(redistribution->loaded, redistribution->memory);
  command_.Clear();
  proto::Execute* execute = command_.mutable_execute();
  execute->set_program(redistribution->loaded.program);
  execute->add_values()->set_first(id);
  execute->mutable_values(0)->set_count(1);
  execute->set_first_output(copy);
  SendToDevices(command_);
  objects_.Put(copy, type, to);
  return copy;
}

void SessionCore::ReleaseObject(uint64_t id) {
  objects_.Erase(id);
  command_.Clear();
  command_.mutable_release()->add_ids()->set_first(id);
  command_.mutable_release()->mutable_ids(0)->set_count(1);
  SendToDevices(command_);
}

void SessionCore::ReleaseTemporaries() {
  for (const uint64_t id : temporaries_) ReleaseObject(id);
  temporaries_.clear();
}

void SessionCore::Load(const std::vector<DeviceGraph>& parts, const RegisteredGraph* client_graph,
                       LoadedParts& loaded) {
  if (!loaded.structures.empty()) return;
  if (spdlog::should_log(spdlog::level::debug)) loaded.sent = PredictAll(parts);
  bool collectives = false;
  Fingerprint fingerprint;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Graph& graph = *parts[i].graph;
    // Parts usually share one structure.
    if (i == 0 || parts[i].graph != parts[i - 1].graph) {
      const bool clients = client_graph != nullptr && parts[i].graph == client_graph->graph;
      fingerprint = clients ? client_graph->fingerprint : ComputeFingerprint(graph);
      collectives = collectives || HasCollectives(graph);
    }
    const StructureTable::Use use = structures_.Take(fingerprint);
    loaded.structures.push_back(use.structure);
    if (!use.first) continue;
    command_.Clear();
    command_.mutable_load_structure()->set_structure(use.structure);
    command_.mutable_load_structure()->set_graph(SerializeGraph(graph));
    SendToDevices(command_);
  }
  command_.Clear();
  proto::LoadProgram* load = command_.mutable_load_program();
  load->set_program(loaded.program);
  load->set_graph(client_graph == nullptr ? 0 : client_graph->name);
  load->set_collectives(collectives);
  size_t device = 0, bytes = 0;
  for (size_t executor = 0; executor < executor_count(); ++executor) {
    load->clear_devices();
    const size_t count = settings_.executors.empty() ? parts.size() : settings_.executors[executor];
    for (size_t i = 0; i < count; ++i, ++device) {
      const DeviceGraph& part = parts[device];
      proto::DeviceProgram* program = load->add_devices();
      program->set_structure(loaded.structures[device]);
      program->mutable_sizes()->Add(part.sizes.begin(), part.sizes.end());
      for (const DeviceGroup& group : part.groups) {
        program->add_groups()->mutable_ranks()->Add(group.begin(), group.end());
      }
      for (const Scalar& constant : part.constants) program->add_constants(uint64_t(constant.i64));
    }
    bytes = std::max(bytes, device_->SendTo(executor, command_));
  }
  CountCommand(bytes);
}

void SessionCore::LogExecution(const LoadedParts& loaded,
                               const std::vector<StepMemory>& memory) const {
  for (size_t rank = 0; rank < loaded.sent.size(); ++rank) {
    const StepAccount account = {.object_bytes = objects_.live_bytes(rank) + memory[rank].fresh,
                                 .arena_bytes = memory[rank].arena,
                                 .sent = loaded.sent[rank]};
    spdlog::debug("step planned session={} rank={} program={} {}", settings_.label, rank,
                  loaded.program, ToString(account));
  }
}

void SessionCore::Unload(const LoadedParts& loaded) {
  proto::ExecutorCommand command;
  command.mutable_unload_program()->set_program(loaded.program);
  SendToDevices(command);
  for (const uint32_t structure : loaded.structures) {
    if (!structures_.Return(structure)) continue;
    command.mutable_unload_structure()->set_structure(structure);
    SendToDevices(command);
  }
}

}  // namespace moai
