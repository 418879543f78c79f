#include "server/graph_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/serialize.h"
#include "graph/verify.h"

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

}  // namespace

GraphRegistry::GraphRegistry(Planner* planner, std::vector<DeviceProfile> devices,
                             std::function<void(uint32_t program)> unload,
                             const RegistryLimits& limits)
    : planner_(planner),
      devices_(std::move(devices)),
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
  auto graph = std::make_unique<RegisteredGraph>();
  graph->fingerprint = fingerprint;
  graph->structure = next_structure_++;
  graph->status = Prepare(*graph, bytes);
  graph_bytes_ += bytes.size();
  RegisteredGraph* registered = graph.get();
  graphs_.emplace(fingerprint, std::move(graph));
  return registered;
}

absl::Status GraphRegistry::Prepare(RegisteredGraph& registered, absl::string_view bytes) {
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

RegisteredGraph* GraphRegistry::Find(const Fingerprint& fingerprint) {
  auto found = graphs_.find(fingerprint);
  return found == graphs_.end() ? nullptr : found->second.get();
}

bool GraphRegistry::HasPlan(const RegisteredGraph& graph, absl::Span<const int64_t> sizes) const {
  return plans_.contains(Key{graph.structure, sizes});
}

PlannedProgram* GraphRegistry::Plan(RegisteredGraph& graph) {
  if (auto found = plans_.find(Key{graph.structure, graph.sizes}); found != plans_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
  } else {
    PlannedProgram program{next_program_++, graph.sizes};
    auto plan = MakePlan(graph);
    if (plan.ok()) {
      program.plan = *std::move(plan);
    } else {
      program.status = plan.status();
    }
    // What an instruction and an extent take to keep is of one order.
    const size_t cost = 16 + graph.sizes.size() + (program.plan ? program.plan->instructions : 0);
    cost_ += cost;
    recent_.push_front({std::move(program), &graph, cost});
    plans_.emplace(Key{graph.structure, recent_.front().program.sizes}, recent_.begin());
  }
  graph.planned = &recent_.front().program;
  while (cost_ > limits_.max_instructions && recent_.size() > 1) ForgetOne();
  return graph.planned;
}

absl::StatusOr<std::shared_ptr<const Plan>> GraphRegistry::MakePlan(const RegisteredGraph& graph) {
  if (graph.sizes.size() != graph.graph->extent_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("sizes: ", graph.sizes.size(), " came, expected ", graph.graph->extent_count));
  }
  MOAI_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferGraph(*graph.graph, graph.sizes));
  return planner_->MakePlan(
      {graph.graph, graph.compiled.get(), graph.sizes, types, devices_});
}

void GraphRegistry::ForgetOne() {
  // The oldest that its graph does not use just now; the oldest of all where every one is used.
  auto oldest = std::prev(recent_.end());
  while (oldest != recent_.begin() && oldest->graph->planned == &oldest->program) --oldest;
  if (oldest == recent_.begin()) oldest = std::prev(recent_.end());
  RegisteredGraph& graph = *oldest->graph;
  if (graph.planned == &oldest->program) graph.planned = nullptr;
  if (graph.checked_plan == &oldest->program) graph.checked_plan = nullptr;
  if (oldest->program.loaded) unload_(oldest->program.program);
  cost_ -= oldest->cost;
  plans_.erase(Key{graph.structure, oldest->program.sizes});
  recent_.erase(oldest);
}

}  // namespace moai
