#include "server/region_plan.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "program/compile.h"

namespace moai {
namespace {

absl::StatusOr<std::shared_ptr<const Plan>> PlanJoined(const RegionRequest& request,
                                                       const JoinedGraph& joined) {
  auto graph = std::make_shared<const Graph>(joined.graph);
  MOAI_ASSIGN_OR_RETURN(const auto compiled, CompileStructure(*graph));
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(*graph, joined.sizes));
  return request.planner->MakePlan({.graph = graph,
                                    .compiled = compiled.get(),
                                    .sizes = joined.sizes,
                                    .types = types,
                                    .devices = request.devices,
                                    .other_bytes = request.other_bytes,
                                    .buckets = false,
                                    .larger = request.larger});
}

// Bindings from `first` on are the second step's own.
std::vector<bool> OwnOf(uint32_t first, uint32_t all) {
  std::vector<bool> own(all, false);
  for (uint32_t i = first; i < all; ++i) own[i] = true;
  return own;
}

LateBindings Late(const RegionRequest& request, const JoinedGraph& joined) {
  const Graph& first = *request.first->graph;
  LateBindings late{.slots = OwnOf(first.slot_count, joined.graph.slot_count),
                    .values = OwnOf(first.value_count, joined.graph.value_count),
                    .feeds = OwnOf(first.feed_count, joined.graph.feed_count),
                    .scalars = OwnOf(first.scalar_count, joined.graph.scalar_count)};
  for (size_t i = 0; i < request.changing.size(); ++i) {
    late.scalars[first.scalar_count + i] = request.changing[i];
  }
  // State that only the second reads is known before it comes; what it replaces is an optimizer's,
  // and follows from the gradients in the same pass that writes it.
  std::vector<bool> replaced(joined.graph.slot_count, false);
  for (const Output& output : joined.graph.outputs) {
    if (output.kind == OutputKind::kSlot) replaced[output.index] = true;
  }
  for (size_t slot = 0; slot < replaced.size(); ++slot) {
    late.slots[slot] = late.slots[slot] && replaced[slot];
  }
  return late;
}

absl::StatusOr<std::vector<StepMemory>> MemoryOf(const RegionHalf& half,
                                                 absl::Span<const DeviceProfile> devices) {
  std::shared_ptr<const ProgramTemplate> compiled;
  std::vector<StepMemory> memory;
  for (size_t device = 0; device < half.parts.size(); ++device) {
    const DeviceGraph& part = half.parts[device];
    const bool another = device == 0 || part.graph != half.parts[device - 1].graph;
    if (!another && part.sizes == half.parts[device - 1].sizes) {
      memory.push_back(memory.back());
      continue;
    }
    if (another) {
      MOAI_ASSIGN_OR_RETURN(compiled, CompileStructure(*part.graph));
    }
    MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(*part.graph, part.sizes));
    MOAI_ASSIGN_OR_RETURN(
        const Program program,
        InstantiateProgram(*compiled, part.sizes, types, DeviceShape{devices[device].threads}));
    memory.push_back(StepMemoryOf(program));
  }
  return memory;
}

// What the first step's plan would leave on each device of what the second takes alone.
std::vector<int64_t> DeferredBytes(const RegionRequest& request) {
  std::vector<int64_t> bytes(request.devices.size());
  const PlannedProgram* const planned = request.first->planned;
  if (planned == nullptr || planned->plan == nullptr) return bytes;
  const Plan& plan = *planned->plan;
  for (size_t i = 0; i < plan.output_types.size(); ++i) {
    if (request.bindings->keep[i]) continue;
    for (size_t device = 0; device < bytes.size(); ++device) {
      const Shape local =
          LocalShape(plan.output_types[i].shape, plan.output_layouts[i], int64_t(device));
      bytes[device] += AllocatedBytes(TensorType{plan.output_types[i].dtype, local}.bytes());
    }
  }
  return bytes;
}

absl::Status CheckWorth(const RegionPlan& region) {
  const auto sum = [](const std::vector<int64_t>& bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
  };
  if (sum(region.crossing_bytes) < sum(region.deferred_bytes)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(sum(region.crossing_bytes), " bytes would have to be kept for the second step, ",
                   sum(region.deferred_bytes), " are without a region"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RegionPlan>> MakeRegionPlan(const RegionRequest& request) {
  auto region = std::make_unique<RegionPlan>();
  region->keep = request.bindings->keep;
  region->changing = request.changing;
  const RegisteredGraph& first = *request.first;
  const RegisteredGraph& second = *request.second;
  MOAI_ASSIGN_OR_RETURN(const auto first_types, InferGraph(*first.graph, first.sizes));
  MOAI_ASSIGN_OR_RETURN(const auto second_types, InferGraph(*second.graph, second.sizes));
  MOAI_ASSIGN_OR_RETURN(region->joined, JoinGraphs({first.graph.get(), first.sizes, first_types},
                                                   {second.graph.get(), second.sizes, second_types},
                                                   *request.bindings));
  region->slots = first.slots;
  region->slots.resize(region->joined.graph.slot_count);
  for (size_t i = 0; i < second.slots.size(); ++i) {
    region->slots[region->joined.slots[i]] = second.slots[i];
  }
  MOAI_ASSIGN_OR_RETURN(region->plan, PlanJoined(request, region->joined));
  for (const bool keep : request.bindings->keep) region->early_outputs += keep ? 1 : 0;
  SplitRequest split_request{.parts = region->plan->parts,
                             .late = Late(request, region->joined),
                             .early_outputs = region->early_outputs};
  for (const TensorType& feed : region->plan->feed_types) {
    split_request.feeds_as_values.push_back(feed.bytes() > kMaxInlineBytes);
  }
  MOAI_ASSIGN_OR_RETURN(SplitGraph split, SplitRegion(split_request));
  region->early.half = std::move(split.early);
  region->late.half = std::move(split.late);
  region->crossing = split.crossing[0].size();
  for (const std::vector<TensorType>& types : split.crossing) {
    int64_t& bytes = region->crossing_bytes.emplace_back();
    for (const TensorType& type : types) bytes += AllocatedBytes(type.bytes());
  }
  region->deferred_bytes = DeferredBytes(request);
  MOAI_RETURN_IF_ERROR(CheckWorth(*region));
  for (PlannedHalf* half : {&region->early, &region->late}) {
    MOAI_ASSIGN_OR_RETURN(half->memory, MemoryOf(half->half, request.devices));
  }
  return region;
}

}  // namespace moai
