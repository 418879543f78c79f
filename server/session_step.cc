// The steps of SessionCore: what is checked before one may run, and what follows from it.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/fingerprint.h"
#include "server/id_ranges.h"
#include "server/session_core.h"

namespace moai {
namespace {

// Unknown structures are remembered by where their outputs begin; so many of them.
constexpr size_t kMaxLostOutputs = 1024;

Fingerprint FingerprintOf(const proto::Step& step) {
  return {step.fingerprint_high(), step.fingerprint_low()};
}

absl::Status Annotated(uint64_t step, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("step ", step, ": ", status.message()));
}

std::string BindingError(absl::string_view kind, size_t index, uint64_t id) {
  return absl::StrCat(kind, " binding ", index, ": id ", id, " ");
}

}  // namespace

bool SessionCore::TakesLong(const proto::ClientMessage& message) const {
  if (message.has_register_graph()) return true;
  if (!message.has_step()) return false;
  const proto::Step& step = message.step();
  const RegisteredGraph* graph = registry_.Find(FingerprintOf(step));
  if (graph == nullptr || !graph->status.ok()) return false;
  return !HasPlan(step, *graph) || WithoutPlan(step) != nullptr;
}

bool SessionCore::HasPlan(const proto::Step& step, const RegisteredGraph& graph) const {
  if (!step.same_sizes()) return registry_.HasPlan(graph, step.sizes());
  return graph.planned != nullptr && !absl::IsResourceExhausted(graph.planned->status);
}

void SessionCore::Prepare(const proto::ClientMessage& message) {
  if (!TakesLong(message)) return;
  if (message.has_step()) return PreparePlan(message.step());
  const proto::RegisterGraph& graph = message.register_graph();
  const Fingerprint fingerprint{graph.fingerprint_high(), graph.fingerprint_low()};
  if (registry_.Find(fingerprint) == nullptr) registry_.PrepareGraph(fingerprint, graph.graph());
}

void SessionCore::PreparePlan(const proto::Step& step) {
  const RegisteredGraph& graph = *registry_.Find(FingerprintOf(step));
  if (HasPlan(step, graph)) return PrepareRegion(step, *WithoutPlan(step));
  const Sizes sizes =
      step.same_sizes() ? graph.sizes : Sizes(step.sizes().begin(), step.sizes().end());
  registry_.PreparePlan(graph, sizes, OtherBytes(step, graph));
}

absl::Status SessionCore::OnStep(proto::Step& step) {
  if (step.step() != last_step_ + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("step.step: ", step.step(), " came, expected ", last_step_ + 1));
  }
  last_step_ = step.step();
  if (!executor_lost_.ok()) return absl::OkStatus();  // every read is answered with it
  RegisteredGraph* graph = registry_.Find(FingerprintOf(step));
  LearnWhatIsKept();
  if (region_.candidate != nullptr && region_.candidate->second != graph) LeaveRegion();
  absl::Status status;
  if (graph == nullptr) {
    status = absl::NotFoundError(
        absl::StrCat("fingerprint: no graph ", ToString(FingerprintOf(step)), " is registered"));
  } else {
    status = graph->status;
    if (status.ok()) status = TakeChanges(step, *graph);
    if (status.ok() && (ContinueRegion(step, *graph) || BeginRegion(step, *graph))) {
      return absl::OkStatus();
    }
  }
  if (region_.candidate != nullptr) LeaveRegion();
  if (status.ok()) {
    RunStep(step, *graph);
  } else {
    Refuse(step, graph, status);
  }
  return absl::OkStatus();
}

void SessionCore::RunStep(proto::Step& step, RegisteredGraph& graph) {
  Observe(step, graph);
  const absl::Status status = CheckStep(step, graph);
  if (status.ok()) {
    Forward(step, graph);
  } else {
    Refuse(step, &graph, status);
  }
  ReleaseTemporaries();
}

absl::Status SessionCore::TakeChanges(const proto::Step& step, RegisteredGraph& graph) {
  if (!graph.seen && (step.same_sizes() || step.same_slots())) {
    return Annotated(step.step(), absl::InvalidArgumentError(
                                      "same_sizes, same_slots: no step of this graph came before"));
  }
  if (!step.same_sizes()) {
    graph.planned = nullptr;
    graph.sizes.assign(step.sizes().begin(), step.sizes().end());
  }
  absl::Status slots = TakeSlots(step, graph);
  absl::Status scalars = TakeScalars(step, graph);
  if (!slots.ok()) return Annotated(step.step(), slots);
  if (!scalars.ok()) return Annotated(step.step(), scalars);
  graph.seen = true;
  return absl::OkStatus();
}

absl::Status SessionCore::TakeSlots(const proto::Step& step, RegisteredGraph& graph) {
  const size_t expected = graph.graph->slot_count;
  if (!step.same_slots()) {
    graph.slots.clear();
    graph.executor_has_slots = false;
    graph.checked_plan = nullptr;
    graph.arranged_plan = nullptr;
    for (const proto::IdRange& range : step.slots()) {
      if (range.count() > expected - graph.slots.size() || range.first() == 0 ||
          range.first() >= kFirstOwnId || range.count() > kFirstOwnId - range.first()) {
        graph.slots.clear();
        return absl::InvalidArgumentError(absl::StrCat("slots: ids ", range.first(), " and ",
                                                       range.count(), " on are more than the ",
                                                       expected, " slots of the graph, or no ids"));
      }
      for (uint64_t i = 0; i < range.count(); ++i) graph.slots.push_back(range.first() + i);
    }
    std::vector<uint64_t> sorted = graph.slots;
    std::sort(sorted.begin(), sorted.end());
    if (auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
      const uint64_t id = *twice;
      graph.slots.clear();
      return absl::InvalidArgumentError(absl::StrCat("slots: id ", id, " is bound twice"));
    }
  }
  if (graph.slots.size() == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("slots: ", graph.slots.size(), " ids came, expected ", expected));
}

absl::Status SessionCore::TakeScalars(const proto::Step& step, RegisteredGraph& graph) {
  const size_t count = graph.graph->scalar_count;
  const int came = step.scalar_positions_size();
  if (came != step.scalar_bits_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("scalar_bits: ", step.scalar_bits_size(), " came for ", came, " positions"));
  }
  graph.scalars.resize(count);
  for (int i = 0; i < came; ++i) {
    const uint32_t position = step.scalar_positions(i);
    if (position >= count || (!graph.seen && position != uint32_t(i))) {
      return absl::InvalidArgumentError(absl::StrCat("scalar_positions: ", position,
                                                     " is outside [0, ", count,
                                                     "), or out of order in a first step"));
    }
    graph.scalars[position].i64 = int64_t(step.scalar_bits(i));
  }
  if (graph.seen || size_t(came) == count) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("scalar_positions: the first step of a graph brings all ", count, " scalars; ",
                   came, " came"));
}

absl::Status SessionCore::CheckStep(proto::Step& step, RegisteredGraph& graph) {
  auto check = [&]() -> absl::Status {
    PlannedProgram* planned = graph.planned;
    if (planned == nullptr || absl::IsResourceExhausted(planned->status)) {
      planned = registry_.Plan(graph, OtherBytes(step, graph));
    }
    MOAI_RETURN_IF_ERROR(planned->status);
    const Plan& plan = *planned->plan;
    MOAI_RETURN_IF_ERROR(CheckSlots(graph, *planned));
    MOAI_RETURN_IF_ERROR(CheckValues(step, graph, plan));
    MOAI_RETURN_IF_ERROR(CheckFeeds(step, plan));
    MOAI_RETURN_IF_ERROR(CheckOutputs(step, plan));
    return MakeReady(step, graph, *planned);
  };
  absl::Status status = check();
  return status.ok() ? status : Annotated(step.step(), status);
}

absl::Status SessionCore::MakeReady(proto::Step& step, RegisteredGraph& graph,
                                    PlannedProgram& planned) {
  const Plan& plan = *planned.plan;
  MOAI_RETURN_IF_ERROR(NumberLayouts(planned));
  MOAI_RETURN_IF_ERROR(Arrange(step, graph, planned));
  MOAI_RETURN_IF_ERROR(CheckFit(plan.memory));
  if (planned.loaded.structures.empty()) Announce(plan);
  Load(plan.parts, &graph, planned.loaded);
  return absl::OkStatus();
}

void SessionCore::Announce(const Plan& plan) {
  for (const std::string& line : plan.notices) {
    answer_.Clear();
    answer_.mutable_notice()->set_text(line);
    client_->Send(answer_);
  }
}

absl::Status SessionCore::CheckSlots(RegisteredGraph& graph, const PlannedProgram& planned) {
  if (graph.checked_plan == &planned && graph.checked_version == objects_.slots_version()) {
    return absl::OkStatus();
  }
  const Plan& plan = *planned.plan;
  for (size_t i = 0; i < graph.slots.size(); ++i) {
    if (plan.slot_created[i]) continue;
    const SessionObject* object = objects_.Find(graph.slots[i]);
    if (object == nullptr) {
      return absl::NotFoundError(
          absl::StrCat(BindingError("slot", i, graph.slots[i]), "does not exist"));
    }
    MOAI_RETURN_IF_ERROR(object->poison);
    if (!(object->type == plan.slot_types[i])) {
      return absl::InvalidArgumentError(absl::StrCat(BindingError("slot", i, graph.slots[i]), "is ",
                                                     ToString(object->type), ", the graph takes ",
                                                     ToString(plan.slot_types[i])));
    }
    objects_.MarkSlot(graph.slots[i]);
  }
  graph.checked_plan = &planned;
  graph.checked_version = objects_.slots_version();
  return absl::OkStatus();
}

absl::Status SessionCore::CheckValues(const proto::Step& step, const RegisteredGraph& graph,
                                      const Plan& plan) const {
  size_t i = 0;
  for (const proto::IdRange& range : step.values()) {
    if (range.count() > plan.value_types.size() - i) break;
    for (uint64_t k = 0; k < range.count(); ++k, ++i) {
      const uint64_t id = range.first() + k;
      const SessionObject* object = objects_.Find(id);
      if (object == nullptr) return UnknownId(id);
      MOAI_RETURN_IF_ERROR(object->poison);
      if (!(object->type == plan.value_types[i])) {
        return absl::InvalidArgumentError(absl::StrCat(BindingError("value", i, id), "is ",
                                                       ToString(object->type), ", the graph takes ",
                                                       ToString(plan.value_types[i])));
      }
      // Its memory would change while the step reads it.
      if (!object->is_slot) continue;
      for (uint32_t slot : graph.replaced) {
        if (graph.slots[slot] != id) continue;
        return absl::InvalidArgumentError(
            absl::StrCat(BindingError("value", i, id), "is a slot that the same step replaces"));
      }
    }
  }
  if (i == plan.value_types.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("values: not as many ids as the graph's ",
                                                 plan.value_types.size(), " value bindings"));
}

absl::Status SessionCore::CheckFeeds(const proto::Step& step, const Plan& plan) const {
  if (size_t(step.feeds_size()) != plan.feed_types.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("feeds: ", step.feeds_size(), " came, expected ", plan.feed_types.size()));
  }
  for (int i = 0; i < step.feeds_size(); ++i) {
    const proto::Feed& feed = step.feeds(i);
    const TensorType& type = plan.feed_types[size_t(i)];
    if (feed.source_case() == proto::Feed::kUploaded) {
      const SessionObject* object = objects_.Find(feed.uploaded());
      if (object == nullptr) return UnknownId(feed.uploaded());
      MOAI_RETURN_IF_ERROR(object->poison);
      // A feed is bytes: clients upload them without a dtype and shape of their own.
      if (object->type.bytes() == type.bytes() && !object->is_slot) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("feed ", i, ": id ", feed.uploaded(), " is ", ToString(object->type),
                       object->is_slot ? " and a slot" : "", ", the graph takes ", ToString(type)));
    }
    const int64_t bytes = int64_t(feed.inline_bytes().size());
    if (bytes == type.bytes() && bytes <= kMaxInlineBytes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("feed ", i, ": ", bytes, " bytes came, ", ToString(type), " has ",
                     type.bytes(), "; more than ", kMaxInlineBytes, " must be uploaded"));
  }
  return absl::OkStatus();
}

absl::Status SessionCore::CheckOutputs(const proto::Step& step, const Plan& plan) const {
  const uint64_t first = step.first_output();
  const size_t count = plan.output_types.size();
  if (!objects_.HasRoomFor(count + plan.slot_types.size())) {
    return absl::ResourceExhaustedError(absl::StrCat("the session has ", objects_.size(),
                                                     " values; at most ", ObjectTable::kMaxObjects,
                                                     " are allowed"));
  }
  if (count > 0 && (first == 0 || first >= kFirstOwnId || count > kFirstOwnId - first)) {
    return absl::InvalidArgumentError(absl::StrCat("first_output: ", first, " is no id"));
  }
  for (size_t i = 0; i < count; ++i) {
    if (!objects_.Contains(first + i)) continue;
    return absl::InvalidArgumentError(absl::StrCat("first_output: id ", first + i, " exists"));
  }
  return absl::OkStatus();
}

void SessionCore::Forward(proto::Step& step, RegisteredGraph& graph) {
  LogExecution(graph.planned->loaded, graph.planned->plan->memory);
  RecordResults(step, graph);
  if (!command_.has_execute()) command_.Clear();
  proto::Execute* execute = command_.mutable_execute();
  execute->Clear();
  execute->set_step(step.step());
  execute->set_program(graph.planned->loaded.program);
  execute->set_first_output(step.first_output());
  execute->set_same_slots(graph.executor_has_slots);
  if (!graph.executor_has_slots) AppendRanges(graph.slots, execute->mutable_slots());
  execute->mutable_values()->Swap(step.mutable_values());
  execute->mutable_feeds()->Swap(step.mutable_feeds());
  if (graph.executor_has_scalars) {
    execute->mutable_scalar_positions()->Swap(step.mutable_scalar_positions());
    execute->mutable_scalar_bits()->Swap(step.mutable_scalar_bits());
  } else {
    for (uint32_t i = 0; i < graph.scalars.size(); ++i) {
      execute->add_scalar_positions(i);
      execute->add_scalar_bits(uint64_t(graph.scalars[i].i64));
    }
  }
  graph.executor_has_slots = true;
  graph.executor_has_scalars = true;
  last_forwarded_ = std::max(last_forwarded_, step.step());
  for (size_t device = 0; device < arena_bytes_.size(); ++device) {
    arena_bytes_[device] =
        std::max(arena_bytes_[device], graph.planned->plan->memory[device].arena);
  }
  SendToDevices(command_);
}

void SessionCore::RecordResults(const proto::Step& step, const RegisteredGraph& graph) {
  const PlannedProgram& planned = *graph.planned;
  const Plan& plan = *planned.plan;
  for (size_t i = 0; i < plan.output_types.size(); ++i) {
    objects_.Put(step.first_output() + i, plan.output_types[i], planned.output_layouts[i]);
  }
  for (uint32_t slot : graph.created) {
    objects_.Put(graph.slots[slot], plan.slot_types[slot], planned.slot_layouts[slot]);
    objects_.MarkSlot(graph.slots[slot]);
  }
  for (const proto::Feed& feed : step.feeds()) {
    if (feed.source_case() == proto::Feed::kUploaded) objects_.Erase(feed.uploaded());
  }
}

void SessionCore::ReleaseFeeds(const proto::Step& step) {
  command_.Clear();
  for (const proto::Feed& feed : step.feeds()) {
    if (feed.source_case() != proto::Feed::kUploaded) continue;
    objects_.Erase(feed.uploaded());
    proto::IdRange* range = command_.mutable_release()->add_ids();
    range->set_first(feed.uploaded());
    range->set_count(1);
  }
  if (command_.has_release()) SendToDevices(command_);
}

void SessionCore::Refuse(const proto::Step& step, RegisteredGraph* graph,
                         const absl::Status& status) {
  first_refusal_.Update(status);
  ReleaseFeeds(step);
  if (graph == nullptr || graph->graph == nullptr) {
    // How many outputs there are is not known: whatever id from here on is unknown, this is why.
    lost_outputs_[step.first_output()] = status;
    if (lost_outputs_.size() > kMaxLostOutputs) lost_outputs_.erase(lost_outputs_.begin());
    return;
  }
  graph->executor_has_slots = false;
  graph->executor_has_scalars = false;
  auto poison = [&](uint64_t id) {
    if (id != 0 && !objects_.Contains(id) && objects_.HasRoomFor(1))
      objects_.PutPoisoned(id, status);
  };
  for (size_t i = 0; i < graph->value_outputs; ++i) poison(step.first_output() + i);
  // Slots that exist stay as they are.
  for (uint32_t slot : graph->created) {
    if (slot < graph->slots.size()) poison(graph->slots[slot]);
  }
}

}  // namespace moai
