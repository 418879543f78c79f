#include "program/compile.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "program/consumers.h"
#include "program/passes.h"
#include "program/template.h"
#include "program/tile_codegen.h"

namespace moai {
namespace {

void MarkSlots(const Graph& graph, ProgramTemplate& result) {
  result.slot_updated.assign(graph.slot_count, false);
  result.slot_created.assign(graph.slot_count, false);
  for (const Output& output : graph.outputs) {
    if (output.kind == OutputKind::kSlot) result.slot_created[output.index] = true;
  }
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) result.slot_created[input.index] = false;
  }
  for (const Storage& storage : result.storages) {
    if (storage.updates_slot) result.slot_updated[storage.index] = true;
  }
}

// The first group that writes a slot which existed before.
uint32_t FirstWrite(const Lowering& lowering) {
  const absl::flat_hash_set<OperationId> writers(lowering.committed.begin(),
                                                 lowering.committed.end());
  const auto first =
      std::find_if(lowering.groups.begin(), lowering.groups.end(), [&writers](const auto& group) {
        return std::any_of(group.begin(), group.end(),
                           [&writers](OperationId id) { return writers.contains(id); });
      });
  return static_cast<uint32_t>(first - lowering.groups.begin());
}

absl::Status EmitInstructions(const Lowering& lowering, ProgramTemplate& result) {
  const std::vector<std::vector<OperationId>> consumers = ListConsumers(lowering);
  result.instructions.reserve(lowering.groups.size());
  for (const std::vector<OperationId>& group : lowering.groups) {
    const Operation& first = lowering.operations[group[0]];
    TemplateInstruction instruction;
    instruction.node = first.node;
    if (IsTileOp(first.op)) {
      std::optional<GeneratedTile> tile = GenerateTile(lowering, group, consumers);
      if (!tile.has_value()) {
        return absl::InternalError(absl::StrCat("no registers for ", Name(first.op)));
      }
      instruction.inputs = std::move(tile->inputs);
      instruction.outputs = std::move(tile->outputs);
      instruction.tile = static_cast<int32_t>(result.tiles.size());
      instruction.copy = IsCopy(lowering, group);
      result.tiles.push_back(std::move(tile->tile));
    } else {
      instruction.op = first.op;
      instruction.attributes = first.attributes;
      instruction.inputs = first.inputs;
      instruction.outputs = first.outputs;
    }
    result.instructions.push_back(std::move(instruction));
  }
  result.commit_point = lowering.groups_before_commit;
  result.first_write = FirstWrite(lowering);
  return absl::OkStatus();
}

enum class Assume { kCoveredChecks, kNothing };

absl::StatusOr<std::shared_ptr<ProgramTemplate>> Compile(const Graph& graph, Assume assume) {
  Lowering lowering;
  lowering.graph = &graph;
  MarkLiveNodes(lowering);
  ClassifyShapes(lowering);
  ResolveViews(lowering);
  FindFailures(lowering);
  if (assume == Assume::kNothing) {
    for (Operation& operation : lowering.operations) operation.may_fail = IsChecked(operation.op);
    lowering.assumptions.clear();
  }
  OrderCollectives(lowering);
  MOAI_RETURN_IF_ERROR(PlaceOutputs(lowering));
  FuseOperations(lowering);
  MOAI_RETURN_IF_ERROR(OrderGroups(lowering));

  auto result = std::make_shared<ProgramTemplate>();
  result->graph = graph;
  MOAI_RETURN_IF_ERROR(EmitInstructions(lowering, *result));
  result->storages = std::move(lowering.storages);
  result->assumptions = std::move(lowering.assumptions);
  MarkSlots(graph, *result);
  return result;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ProgramTemplate>> CompileStructure(const Graph& graph) {
  MOAI_ASSIGN_OR_RETURN(std::shared_ptr<ProgramTemplate> result,
                        Compile(graph, Assume::kCoveredChecks));
  if (!result->assumptions.empty()) {
    MOAI_ASSIGN_OR_RETURN(result->cautious, Compile(graph, Assume::kNothing));
  }
  return result;
}

absl::StatusOr<Program> CompileProgram(const Graph& graph, absl::Span<const int64_t> sizes,
                                       const DeviceShape& device) {
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, sizes));
  MOAI_ASSIGN_OR_RETURN(const std::shared_ptr<const ProgramTemplate> program,
                        CompileStructure(graph));
  return InstantiateProgram(*program, sizes, types, device);
}

}  // namespace moai
