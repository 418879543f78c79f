#include "server/graph_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/serialize.h"
#include "graph/verify.h"
#include "spdlog/spdlog.h"

namespace moai {
namespace {

void ListSlots(RegisteredGraph& graph) {
  std::vector<bool> read(graph.graph->slot_count, false);
  for (const Input& input : graph.graph->inputs) {
    if (input.kind == InputKind::kSlot) read[input.index] = true;
  }
  for (const Output& output : graph.graph->outputs) {
    if (output.kind == OutputKind::kValue) {
      ++graph.value_outputs;
    } else {
      graph.replaced.push_back(output.index);
      if (!read[output.index]) graph.created.push_back(output.index);
    }
  }
}

// A slot keeps its type: its memory is written in place, whatever the plan.
absl::Status CheckSlotTypes(const Graph& graph, absl::Span<const TensorType> types) {
  std::vector<const TensorType*> before(graph.slot_count, nullptr);
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) before[input.index] = &types[input.value];
  }
  for (const Output& output : graph.outputs) {
    if (output.kind != OutputKind::kSlot || before[output.index] == nullptr) continue;
    const TensorType& after = types[output.value];
    if (after == *before[output.index]) continue;
    return absl::InvalidArgumentError(absl::StrCat("slot binding ", output.index, " is ",
                                                   ToString(*before[output.index]),
                                                   " and cannot be replaced by ", ToString(after)));
  }
  return absl::OkStatus();
}

}  // namespace

GraphRegistry::GraphRegistry(Planner* planner, std::vector<DeviceProfile> devices,
                             std::vector<PlannedSize> larger,
                             std::function<void(const LoadedParts& parts)> unload,
                             const RegistryLimits& limits)
    : planner_(planner),
      devices_(std::move(devices)),
      larger_(std::move(larger)),
      unload_(std::move(unload)),
      limits_(limits) {}

absl::StatusOr<RegisteredGraph*> GraphRegistry::Register(const Fingerprint& fingerprint,
                                                         absl::string_view bytes) {
  if (RegisteredGraph* known = Find(fingerprint)) return known;
  if (graphs_.size() >= limits_.max_graphs ||
      bytes.size() > limits_.max_graph_bytes - graph_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the session has registered ", graphs_.size(), " graphs of ", graph_bytes_,
        " bytes; allowed are ", limits_.max_graphs, " of ", limits_.max_graph_bytes, " bytes"));
  }
  std::unique_ptr<RegisteredGraph> graph = std::move(prepared_graph_);
  if (graph == nullptr || !(graph->fingerprint == fingerprint)) {
    PrepareGraph(fingerprint, bytes);
    graph = std::move(prepared_graph_);
  }
  graph->name = next_name_++;
  graph_bytes_ += bytes.size();
  RegisteredGraph* registered = graph.get();
  graphs_.emplace(fingerprint, std::move(graph));
  return registered;
}

void GraphRegistry::PrepareGraph(const Fingerprint& fingerprint, absl::string_view bytes) {
  prepared_graph_ = std::make_unique<RegisteredGraph>();
  prepared_graph_->fingerprint = fingerprint;
  prepared_graph_->status = Verify(*prepared_graph_, bytes);
}

absl::Status GraphRegistry::Verify(RegisteredGraph& registered, absl::string_view bytes) const {
  MOAI_ASSIGN_OR_RETURN(Graph parsed, ParseGraph(bytes));
  MOAI_RETURN_IF_ERROR(VerifyStructure(parsed));
  const Fingerprint actual = ComputeFingerprint(parsed);
  if (!(actual == registered.fingerprint)) {
    return absl::InvalidArgumentError(absl::StrCat("fingerprint: the graph's is ", ToString(actual),
                                                   ", it was announced as ",
                                                   ToString(registered.fingerprint)));
  }
  registered.graph = std::make_shared<const Graph>(std::move(parsed));
  ListSlots(registered);
  MOAI_ASSIGN_OR_RETURN(registered.compiled, CompileStructure(*registered.graph));
  return absl::OkStatus();
}

RegisteredGraph* GraphRegistry::Find(const Fingerprint& fingerprint) const {
  auto found = graphs_.find(fingerprint);
  return found == graphs_.end() ? nullptr : found->second.get();
}

bool GraphRegistry::HasPlan(const RegisteredGraph& graph, absl::Span<const int64_t> sizes) const {
  const auto found = plans_.find(Key{graph.name, sizes});
  return found != plans_.end() && !absl::IsResourceExhausted(found->second->program.status);
}

PlannedProgram* GraphRegistry::Plan(RegisteredGraph& graph, int64_t other_bytes) {
  auto found = plans_.find(Key{graph.name, graph.sizes});
  if (found != plans_.end()) {
    const PlannedProgram& known = found->second->program;
    if (absl::IsResourceExhausted(known.status) && other_bytes < known.other_bytes) {
      Remove(found->second);
      found = plans_.end();
    }
  }
  if (found != plans_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
  } else {
    PlannedProgram program;
    program.loaded.program = next_program_++;
    program.sizes = graph.sizes;
    program.other_bytes = other_bytes;
    std::optional<PreparedPlan> prepared = std::exchange(prepared_plan_, std::nullopt);
    if (!prepared.has_value() || prepared->graph != graph.name || prepared->sizes != graph.sizes ||
        prepared->other_bytes != other_bytes) {
      PreparePlan(graph, graph.sizes, other_bytes);
      prepared = std::exchange(prepared_plan_, std::nullopt);
    }
    absl::StatusOr<std::shared_ptr<const moai::Plan>>& plan = prepared->plan;
    if (plan.ok()) {
      program.plan = *std::move(plan);
    } else {
      program.status = plan.status();
    }
    // What an instruction and an extent take to keep is of one order.
    const size_t cost = 16 + graph.sizes.size() + (program.plan ? program.plan->instructions : 0);
    cost_ += cost;
    recent_.push_front({std::move(program), &graph, cost});
    plans_.emplace(Key{graph.name, recent_.front().program.sizes}, recent_.begin());
  }
  graph.planned = &recent_.front().program;
  while (cost_ > limits_.max_instructions && recent_.size() > 1) ForgetOne();
  return graph.planned;
}

void GraphRegistry::PreparePlan(const RegisteredGraph& graph, absl::Span<const int64_t> sizes,
                                int64_t other_bytes) {
  prepared_plan_ = PreparedPlan{.graph = graph.name,
                                .sizes = {sizes.begin(), sizes.end()},
                                .other_bytes = other_bytes,
                                .plan = MakePlan(graph, sizes, other_bytes)};
}

absl::StatusOr<std::shared_ptr<const Plan>> GraphRegistry::MakePlan(const RegisteredGraph& graph,
                                                                    absl::Span<const int64_t> sizes,
                                                                    int64_t other_bytes) const {
  if (sizes.size() != graph.graph->extent_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("sizes: ", sizes.size(), " came, expected ", graph.graph->extent_count));
  }
  MOAI_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferGraph(*graph.graph, sizes));
  MOAI_RETURN_IF_ERROR(CheckSlotTypes(*graph.graph, types));
  auto plan = planner_->MakePlan({.graph = graph.graph,
                                  .compiled = graph.compiled.get(),
                                  .sizes = sizes,
                                  .types = types,
                                  .devices = devices_,
                                  .other_bytes = other_bytes,
                                  .larger = larger_});
  spdlog::debug("planned graph={} nodes={} devices={} plan=\"{}\"", ToString(graph.fingerprint),
                graph.graph->nodes.size(), devices_.size(),
                plan.ok() ? (*plan)->explanation : plan.status().ToString());
  return plan;
}

void GraphRegistry::ForgetOne() {
  // The oldest that its graph does not use just now; the oldest of all where every one is used.
  auto oldest = std::prev(recent_.end());
  while (oldest != recent_.begin() && oldest->graph->planned == &oldest->program) --oldest;
  if (oldest == recent_.begin()) oldest = std::prev(recent_.end());
  Remove(oldest);
}

void GraphRegistry::Remove(std::list<Entry>::iterator entry) {
  RegisteredGraph& graph = *entry->graph;
  const PlannedProgram* const program = &entry->program;
  if (graph.planned == program) graph.planned = nullptr;
  if (graph.checked_plan == program) graph.checked_plan = nullptr;
  if (graph.arranged_plan == program) graph.arranged_plan = nullptr;
  if (!program->loaded.structures.empty()) unload_(program->loaded);
  cost_ -= entry->cost;
  plans_.erase(Key{graph.name, program->sizes});
  recent_.erase(entry);
}

}  // namespace moai
