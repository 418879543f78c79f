// Two steps of a SessionCore that are planned as one: a program that reads its loss before the
// backward pass submits its training step in two parts (docs/architecture.md).
//
// When the first comes, the devices run whatever of both does not depend on what only the second
// will bring; what the first would have left for the second is not made ("deferred"). When the
// second comes as expected, the devices run the rest. If anything else comes, the first is run
// again alone: it writes no slot, and what it reads is as it was, because nothing that could change
// it runs before that.
//
// The second waits until the program's next message: clients release what they do not keep before
// they send anything else, and what is kept must be made before slots change.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "program/allocation.h"
#include "server/id_ranges.h"
#include "server/session_core.h"
#include "spdlog/spdlog.h"

namespace moai {
namespace {

constexpr uint32_t kOwn = RegionBindings::kOwn;
// Releases that wait for the end of a region, at most.
constexpr int kMaxReleasesHeld = 4096;

// One more than `most` where there are more.
std::vector<uint64_t> Ids(const google::protobuf::RepeatedPtrField<proto::IdRange>& ranges,
                          size_t most) {
  std::vector<uint64_t> ids;
  AppendIds(ranges, most + 1, ids);
  return ids;
}

// Of the joined graph, what both steps bind, by binding. The second's own is 0 until it has come.
std::vector<uint64_t> ValuesOf(const OpenRegion& region) {
  std::vector<uint64_t> values = region.first.values;
  const JoinedGraph& joined = region.candidate->plan->joined;
  values.resize(joined.graph.value_count);
  const std::vector<uint64_t> second = Ids(region.second.values(), joined.values.size());
  for (size_t i = 0; i < second.size(); ++i) {
    if (joined.values[i] != kOwn) values[joined.values[i]] = second[i];
  }
  return values;
}

std::vector<const proto::Feed*> FeedsOf(const OpenRegion& region) {
  const JoinedGraph& joined = region.candidate->plan->joined;
  std::vector<const proto::Feed*> feeds(joined.graph.feed_count);
  for (int i = 0; i < region.second.feeds_size(); ++i) {
    feeds[joined.feeds[size_t(i)]] = &region.second.feeds(i);
  }
  for (int i = 0; i < region.first.feeds.size(); ++i) feeds[size_t(i)] = &region.first.feeds[i];
  return feeds;
}

// Until the second step has come, its scalars are those of the one before.
std::vector<Scalar> ScalarsOf(const OpenRegion& region) {
  const RegionCandidate& candidate = *region.candidate;
  std::vector<Scalar> scalars = candidate.first->scalars;
  const std::vector<Scalar>& second =
      region.complete ? candidate.second->scalars : candidate.scalars;
  scalars.insert(scalars.end(), second.begin(), second.end());
  return scalars;
}

// A feed comes in its message, or was uploaded, as the plan's programs bind it.
bool ComesAsPlanned(const proto::Feed& feed, const TensorType& type) {
  const bool uploaded = feed.source_case() == proto::Feed::kUploaded;
  return uploaded == (type.bytes() > kMaxInlineBytes);
}

}  // namespace

// ---- Noticing pairs

void SessionCore::Note(const proto::Step& step, RegisteredGraph& graph, NotedStep& note) const {
  note.graph = &graph;
  note.values = Ids(step.values(), graph.graph->value_count);
  note.feeds = step.feeds();
  note.first_output = step.first_output();
  note.read.clear();
}

void SessionCore::Observe(NotedStep step) {
  if (step.graph != nullptr && previous_.graph != nullptr && RegionTable::MayEnd(*step.graph)) {
    watched_ = regions_.Observe(previous_, step);
    watched_output_ = previous_.first_output;
  }
  const bool may_begin = step.graph != nullptr && RegionTable::MayBegin(*step.graph);
  previous_ = may_begin ? std::move(step) : NotedStep();
}

void SessionCore::LearnWhatIsKept() {
  RegionCandidate* const candidate = std::exchange(watched_, nullptr);
  if (candidate == nullptr) return;
  std::vector<bool>& keep = candidate->bindings.keep;
  for (size_t i = 0; i < keep.size(); ++i) {
    if (keep[i] || !objects_.Contains(watched_output_ + i)) continue;
    keep[i] = true;
    regions_.ForgetPlan(*candidate);
  }
}

RegionCandidate* SessionCore::WithoutPlan(const proto::Step& step) const {
  if (!step.same_slots()) return nullptr;
  const RegisteredGraph* graph = registry_.Find({step.fingerprint_high(), step.fingerprint_low()});
  if (graph == nullptr) return nullptr;
  const Sizes sizes =
      step.same_sizes() ? graph->sizes : Sizes(step.sizes().begin(), step.sizes().end());
  RegionCandidate* candidate = regions_.Expected(*graph, sizes);
  return candidate == nullptr || candidate->plan != nullptr ? nullptr : candidate;
}

void SessionCore::PrepareRegion(const proto::Step& step, RegionCandidate& candidate) {
  std::vector<uint64_t> bound = Ids(step.values(), candidate.first->graph->value_count);
  bound.insert(bound.end(), candidate.first_slots.begin(), candidate.first_slots.end());
  bound.insert(bound.end(), candidate.second_slots.begin(), candidate.second_slots.end());
  auto made = MakeRegionPlan({.first = candidate.first,
                              .second = candidate.second,
                              .bindings = &candidate.bindings,
                              .changing = candidate.changing,
                              .planner = planner_,
                              .devices = settings_.devices,
                              .larger = settings_.larger,
                              .other_bytes = BytesBeside(std::move(bound))});
  const std::string pair = absl::StrCat(ToString(candidate.first->fingerprint), " and ",
                                        ToString(candidate.second->fingerprint));
  if (!made.ok()) {
    candidate.refused = true;
    spdlog::debug("no region graphs=\"{}\" reason=\"{}\"", pair, made.status().ToString());
    return;
  }
  candidate.plan = *std::move(made);
  RegionPlan& plan = *candidate.plan;
  plan.early.loaded.program = registry_.NewProgramName();
  plan.late.loaded.program = registry_.NewProgramName();
  if (candidate.early_name == 0) candidate.early_name = registry_.NewGraphName();
  if (candidate.late_name == 0) candidate.late_name = registry_.NewGraphName();
  const StepMemory& early = plan.early.memory[0];
  int64_t state = 0;  // of the first device
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    if (plan.plan->slot_created[i]) continue;
    const TensorType& type = plan.plan->slot_types[i];
    const Shape local = LocalShape(type.shape, plan.plan->slot_layouts[i], 0);
    state += AllocatedBytes(TensorType{type.dtype, local}.bytes());
  }
  spdlog::info(
      "planned region graphs=\"{}\" nodes={} crossing_bytes={} deferred_bytes={} region_bytes={} "
      "whole_bytes={}",
      pair, plan.joined.graph.nodes.size(), plan.crossing_bytes[0], plan.deferred_bytes[0],
      state + std::max(early.total(), early.fresh + plan.late.memory[0].total()),
      state + plan.plan->memory[0].total());
}

bool SessionCore::HasGoodPlan(RegisteredGraph& graph) {
  if (graph.planned == nullptr && registry_.HasPlan(graph, graph.sizes)) registry_.Plan(graph, 0);
  return graph.planned != nullptr && graph.planned->status.ok();
}

// ---- The first step

bool SessionCore::BeginRegion(const proto::Step& step, RegisteredGraph& graph) {
  RegionCandidate* candidate = regions_.Expected(graph, graph.sizes);
  regions_.Came(graph);
  if (candidate == nullptr || !HasGoodPlan(graph)) return false;
  if (!CheckSlots(graph, *graph.planned).ok() ||
      !CheckValues(step, graph, *graph.planned->plan).ok() ||
      !CheckFeeds(step, *graph.planned->plan).ok() ||
      !CheckOutputs(step, *graph.planned->plan).ok()) {
    return false;  // refused as any other
  }
  if (candidate->plan == nullptr) PrepareRegion(step, *candidate);
  if (candidate->plan == nullptr) return false;
  OpenRegion region{.candidate = candidate};
  Note(step, graph, region.first);
  if (const absl::Status status = CheckRegion(region.first, *candidate); !status.ok()) {
    spdlog::debug("no region reason=\"{}\"", status.ToString());
    return false;
  }
  RegionPlan& plan = *candidate->plan;
  previous_.graph = nullptr;
  const uint64_t first_own = next_own_id_;
  next_own_id_ += plan.early_outputs + plan.crossing;
  region.first_crossing = first_own + plan.early_outputs;
  region_ = std::move(region);
  if (plan.early.loaded.structures.empty()) Announce(*plan.plan);
  SendHalf(plan.early, step.step(), first_own);
  last_forwarded_ = step.step();
  objects_.CountOther(plan.crossing_bytes, 1);
  const Plan& alone = *graph.planned->plan;
  size_t next = 0;
  for (size_t i = 0; i < alone.output_types.size(); ++i) {
    const uint64_t id = step.first_output() + i;
    if (!candidate->bindings.keep[i]) {
      objects_.PutDeferred(id, alone.output_types[i]);
      continue;
    }
    command_.Clear();
    command_.mutable_rename()->set_from(first_own + next);
    command_.mutable_rename()->set_to(id);
    SendToDevices(command_);
    objects_.Put(id, alone.output_types[i], plan.output_layouts[next++]);
  }
  graph.executor_has_slots = false;
  graph.executor_has_scalars = false;
  return true;
}

absl::Status SessionCore::CheckRegion(const NotedStep& first, RegionCandidate& candidate) {
  RegionPlan& plan = *candidate.plan;
  const bool objects = objects_.HasRoomFor(candidate.bindings.keep.size() + plan.slots.size());
  if (!objects) return absl::ResourceExhaustedError("no room for more values");
  for (int i = 0; i < first.feeds.size(); ++i) {
    if (ComesAsPlanned(first.feeds[i], plan.plan->feed_types[size_t(i)])) continue;
    return absl::FailedPreconditionError("a feed comes in another way");
  }
  for (const uint64_t id : first.values) {
    if (objects_.Find(id)->is_slot) return absl::FailedPreconditionError("a value is a slot");
  }
  if (!plan.layouts_known) {
    for (const auto& [layouts, ids] :
         {std::pair(&plan.plan->slot_layouts, &plan.slot_layouts),
          std::pair(&plan.plan->value_layouts, &plan.value_layouts),
          std::pair(&plan.plan->output_layouts, &plan.output_layouts)}) {
      for (const Layout& layout : *layouts) {
        MOAI_ASSIGN_OR_RETURN(ids->emplace_back(), layouts_.Intern(layout));
      }
    }
    plan.layouts_known = true;
  }
  MOAI_RETURN_IF_ERROR(ArrangeRegion(first, plan));
  // Both parts, with what crosses between them.
  std::vector<StepMemory> memory = plan.early.memory;
  for (size_t device = 0; device < memory.size(); ++device) {
    memory[device].arena = std::max(memory[device].arena, plan.late.memory[device].arena);
    memory[device].fresh += plan.late.memory[device].fresh;
  }
  return CheckFit(memory);
}

absl::Status SessionCore::ArrangeRegion(const NotedStep& first, RegionPlan& plan) {
  const bool several = settings_.devices.size() > 1;
  if (plan.arranged_version != objects_.slots_version()) {
    for (size_t i = 0; i < plan.slots.size(); ++i) {
      if (plan.plan->slot_created[i]) continue;
      const SessionObject* object = objects_.Find(plan.slots[i]);
      if (object == nullptr || !(object->type == plan.plan->slot_types[i])) {
        return absl::FailedPreconditionError("a slot is not what it was");
      }
      MOAI_RETURN_IF_ERROR(object->poison);
      objects_.MarkSlot(plan.slots[i]);
      if (several) MOAI_RETURN_IF_ERROR(Move(plan.slots[i], plan.slot_layouts[i]));
    }
    plan.arranged_version = objects_.slots_version();
  }
  if (!several) return absl::OkStatus();
  for (size_t i = 0; i < first.values.size(); ++i) {
    MOAI_RETURN_IF_ERROR(Move(first.values[i], plan.value_layouts[i]));
  }
  for (const proto::Feed& feed : first.feeds) {
    if (feed.source_case() != proto::Feed::kUploaded) continue;
    MOAI_RETURN_IF_ERROR(Move(feed.uploaded(), ReplicatedLayout(settings_.devices.size())));
  }
  return absl::OkStatus();
}

// One of the parts of region_.
void SessionCore::SendHalf(PlannedHalf& half, uint64_t step, uint64_t first_output) {
  RegisteredGraph named;  // executors remember its bindings under a name of its own
  RegionCandidate& candidate = *region_.candidate;
  named.name = &half == &candidate.plan->early ? candidate.early_name : candidate.late_name;
  Load(half.half.parts, &named, half.loaded);
  LogExecution(half.loaded, half.memory);
  const std::vector<uint64_t> values = ValuesOf(region_);
  const std::vector<const proto::Feed*> feeds = FeedsOf(region_);
  const std::vector<Scalar> scalars = ScalarsOf(region_);
  command_.Clear();
  proto::Execute* execute = command_.mutable_execute();
  execute->set_step(step);
  execute->set_program(half.loaded.program);
  execute->set_first_output(first_output);
  execute->set_same_slots(half.executor_has_slots);
  std::vector<uint64_t> ids;
  for (const uint32_t slot : half.half.slots) ids.push_back(candidate.plan->slots[slot]);
  if (!half.executor_has_slots) AppendRanges(ids, execute->mutable_slots());
  ids.clear();
  for (const auto& [source, index] : half.half.values) {
    const bool crosses = source == RegionHalf::Source::kCrossing;
    ids.push_back(crosses                                ? region_.first_crossing + index
                  : source == RegionHalf::Source::kValue ? values[index]
                                                         : feeds[index]->uploaded());
  }
  AppendRanges(ids, execute->mutable_values());
  for (const uint32_t feed : half.half.feeds) *execute->add_feeds() = *feeds[feed];
  const bool all = half.executor_scalars.empty();
  half.executor_scalars.resize(half.half.scalars.size());
  for (uint32_t i = 0; i < half.half.scalars.size(); ++i) {
    const Scalar scalar = scalars[half.half.scalars[i]];
    if (!all && half.executor_scalars[i].i64 == scalar.i64) continue;
    half.executor_scalars[i] = scalar;
    execute->add_scalar_positions(i);
    execute->add_scalar_bits(uint64_t(scalar.i64));
  }
  half.executor_has_slots = true;
  for (size_t device = 0; device < arena_bytes_.size(); ++device) {
    arena_bytes_[device] = std::max(arena_bytes_[device], half.memory[device].arena);
  }
  SendToDevices(command_);
}

// ---- The second step

bool SessionCore::ContinueRegion(proto::Step& step, RegisteredGraph& graph) {
  if (region_.candidate == nullptr || region_.candidate->second != &graph) return false;
  RegionCandidate& candidate = *region_.candidate;
  if (!IsExpected(step, graph)) return false;
  candidate.scalars = graph.scalars;
  graph.executor_has_slots = false;
  graph.executor_has_scalars = false;
  region_.second.Swap(&step);
  region_.complete = true;
  if (!AnyDeferred()) RunLate();
  return true;
}

bool SessionCore::IsExpected(const proto::Step& step, const RegisteredGraph& graph) {
  RegionCandidate& candidate = *region_.candidate;
  const RegionPlan& plan = *candidate.plan;
  RegisteredGraph& second = *candidate.second;
  if (graph.slots != candidate.second_slots || graph.sizes != candidate.second_sizes ||
      !HasGoodPlan(second)) {
    return false;
  }
  // A number that was the same in every step and is not any more: later plans know.
  for (size_t i = 0; i < graph.scalars.size(); ++i) {
    if (candidate.changing[i] || graph.scalars[i].i64 == candidate.scalars[i].i64) continue;
    candidate.changing[i] = true;
    return false;
  }
  const Plan& alone = *graph.planned->plan;
  if (!CheckSlots(second, *graph.planned).ok() || !CheckValues(step, graph, alone).ok() ||
      !CheckFeeds(step, alone).ok() || !CheckOutputs(step, alone).ok()) {
    return false;
  }
  const std::vector<uint64_t> values = Ids(step.values(), graph.graph->value_count);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t output = candidate.bindings.outputs[i], value = candidate.bindings.values[i];
    if (output != kOwn && values[i] != region_.first.first_output + output) return false;
    if (output == kOwn && value != kOwn && values[i] != region_.first.values[value]) return false;
    if (output == kOwn && value == kOwn && objects_.Find(values[i])->is_slot) return false;
  }
  for (int i = 0; i < step.feeds_size(); ++i) {
    const proto::Feed& feed = step.feeds(i);
    const uint32_t same = candidate.bindings.feeds[size_t(i)];
    const uint32_t joined = plan.joined.feeds[size_t(i)];
    if (!ComesAsPlanned(feed, plan.plan->feed_types[joined])) return false;
    if (same == kOwn) continue;
    if (feed.inline_bytes() != region_.first.feeds[int(same)].inline_bytes()) return false;
  }
  return true;
}

bool SessionCore::AnyDeferred() const {
  const std::vector<bool>& keep = region_.candidate->bindings.keep;
  for (size_t i = 0; i < keep.size(); ++i) {
    const SessionObject* object = objects_.Find(region_.first.first_output + i);
    if (object != nullptr && object->deferred) return true;
  }
  return false;
}

bool SessionCore::BeforeMessage(const proto::ClientMessage& message) {
  if (region_.candidate == nullptr || !executor_lost_.ok()) return false;
  switch (message.kind_case()) {
    case proto::ClientMessage::kRelease: {
      if (region_.released.ids_size() + message.release().ids_size() > kMaxReleasesHeld) {
        LeaveRegion();
        return false;
      }
      // What is deferred goes at once; what the late part may take, when the region ends.
      const std::vector<bool>& keep = region_.candidate->bindings.keep;
      const uint64_t first = region_.first.first_output;
      for (const proto::IdRange& range : message.release().ids()) {
        const uint64_t begin = std::max(range.first(), first);
        for (uint64_t id = begin; id - first < keep.size() && id - range.first() < range.count();
             ++id) {
          if (!keep[id - first]) objects_.Erase(id);
        }
      }
      region_.released.mutable_ids()->MergeFrom(message.release().ids());
      if (AnyDeferred()) return true;
      if (region_.complete) {
        RunLate();
      } else {
        LeaveRegion();  // nobody can take anything of the first any more
      }
      return true;
    }
    case proto::ClientMessage::kRead: {
      const uint64_t id = message.read().id();
      const SessionObject* object = objects_.Find(id);
      if (object != nullptr && object->deferred) {
        region_.candidate->bindings.keep[id - region_.first.first_output] = true;
        LeaveRegion();
      } else if (region_.complete) {
        LeaveRegion();
      }
      return false;
    }
    case proto::ClientMessage::kStep:
    case proto::ClientMessage::kUpload:
    case proto::ClientMessage::kSynchronize:
      if (region_.complete) LeaveRegion();
      return false;
    default:
      return false;
  }
}

void SessionCore::RunLate() {
  const RegionPlan& plan = *region_.candidate->plan;
  RegisteredGraph& graph = *region_.candidate->second;
  const proto::Step& step = region_.second;
  const auto prepare = [&]() -> absl::Status {
    if (settings_.devices.size() > 1) {
      const std::vector<uint64_t> values = ValuesOf(region_);
      for (size_t i = region_.first.values.size(); i < values.size(); ++i) {
        MOAI_RETURN_IF_ERROR(Move(values[i], plan.value_layouts[i]));
      }
      for (const proto::Feed& feed : step.feeds()) {
        if (feed.source_case() != proto::Feed::kUploaded) continue;
        MOAI_RETURN_IF_ERROR(Move(feed.uploaded(), ReplicatedLayout(settings_.devices.size())));
      }
    }
    return CheckFit(plan.late.memory);
  };
  if (const absl::Status status = prepare(); !status.ok()) {
    Refuse(step, &graph,
           absl::Status(status.code(), absl::StrCat("step ", step.step(), ": ", status.message())));
  } else {
    SendHalf(region_.candidate->plan->late, step.step(), step.first_output());
    last_forwarded_ = step.step();
    RecordLate(step, graph);
  }
  regions_.WasRight(*region_.candidate);
  OpenRegion region = std::exchange(region_, {});
  DropCrossing(region);
  for (const proto::Feed& feed : region.first.feeds) {
    if (feed.source_case() == proto::Feed::kUploaded) ReleaseObject(feed.uploaded());
  }
  if (region.released.ids_size() > 0) OnRelease(region.released).IgnoreError();
}

void SessionCore::RecordLate(const proto::Step& step, const RegisteredGraph& graph) {
  const RegionPlan& plan = *region_.candidate->plan;
  const Plan& whole = *plan.plan;
  for (size_t i = plan.early_outputs; i < whole.output_types.size(); ++i) {
    objects_.Put(step.first_output() + (i - plan.early_outputs), whole.output_types[i],
                 plan.output_layouts[i]);
  }
  for (size_t slot = 0; slot < graph.slots.size(); ++slot) {
    const uint32_t joined = plan.joined.slots[slot];
    if (!whole.slot_created[joined]) continue;
    objects_.Put(graph.slots[slot], whole.slot_types[joined], plan.slot_layouts[joined]);
    objects_.MarkSlot(graph.slots[slot]);
  }
  // As a value of the late part, or in its message: in any case the step consumes it.
  ReleaseFeeds(step);
}

// ---- The end

void SessionCore::LeaveRegion() {
  if (region_.complete && !AnyDeferred()) return RunLate();
  OpenRegion region = std::exchange(region_, {});
  RegionCandidate& candidate = *region.candidate;
  const std::vector<bool>& keep = candidate.bindings.keep;
  if (region.complete) {
    // The program has said what it does not want of the first: the rest it keeps.
    for (size_t i = 0; i < keep.size(); ++i) {
      const SessionObject* object = objects_.Find(region.first.first_output + i);
      if (object != nullptr && object->deferred) candidate.bindings.keep[i] = true;
    }
  }
  spdlog::debug("region left graphs=\"{} and {}\" second={}",
                ToString(candidate.first->fingerprint), ToString(candidate.second->fingerprint),
                region.complete ? "waits" : "missing");
  DropCrossing(region);
  RunFirstAlone(region);
  if (region.complete) RunStep(region.second, *candidate.second);
  if (region.released.ids_size() > 0) OnRelease(region.released).IgnoreError();
  regions_.WasWrong(candidate);
  const RegionPlan& plan = *candidate.plan;
  if (plan.keep != keep || plan.changing != candidate.changing) regions_.ForgetPlan(candidate);
  previous_.graph = nullptr;
}

void SessionCore::RunFirstAlone(OpenRegion& region) {
  RegisteredGraph& graph = *region.candidate->first;
  std::vector<uint64_t> deferred;
  for (size_t i = 0; i < graph.value_outputs; ++i) {
    const uint64_t id = region.first.first_output + i;
    const SessionObject* object = objects_.Find(id);
    if (object != nullptr && object->deferred) deferred.push_back(id);
  }
  proto::Step step;  // number 0: the program's has been counted
  AppendRanges(region.first.values, step.mutable_values());
  *step.mutable_feeds() = region.first.feeds;
  step.set_first_output(region.first.first_output);
  if (deferred.empty()) return ReleaseFeeds(step);
  graph.executor_has_slots = false;
  graph.executor_has_scalars = false;
  PlannedProgram* planned = graph.planned;
  if (planned == nullptr) planned = registry_.Plan(graph, OtherBytes(step, graph));
  absl::Status status = planned->status;
  if (status.ok()) status = MakeReady(step, graph, *planned);
  if (!status.ok()) {
    for (const uint64_t id : deferred) objects_.PutPoisoned(id, status);
    first_refusal_.Update(status);
    return ReleaseFeeds(step);
  }
  // Makes what the program has released since, too: the second may take it, and it goes again with
  // the releases that wait for the end of the region.
  Forward(step, graph);
  ReleaseTemporaries();
}

void SessionCore::DropCrossing(const OpenRegion& region) {
  const RegionPlan& plan = *region.candidate->plan;
  objects_.CountOther(plan.crossing_bytes, -1);
  if (plan.crossing == 0) return;
  command_.Clear();
  proto::IdRange* crossing = command_.mutable_release()->add_ids();
  crossing->set_first(region.first_crossing);
  crossing->set_count(plan.crossing);
  SendToDevices(command_);
}

}  // namespace moai
