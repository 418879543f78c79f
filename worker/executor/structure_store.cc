#include "worker/executor/structure_store.h"

#include <utility>

#include "base/status.h"
#include "graph/serialize.h"

namespace moai {

std::shared_ptr<const Structure> CompileForDevices(Graph graph) {
  auto structure = std::make_shared<Structure>();
  structure->graph = std::move(graph);
  for (const Output& output : structure->graph.outputs) {
    if (output.kind == OutputKind::kSlot) structure->written.push_back(output.index);
  }
  auto compiled = CompileStructure(structure->graph);
  if (compiled.ok()) {
    structure->compiled = *std::move(compiled);
  } else {
    structure->status = compiled.status();
  }
  return structure;
}

absl::StatusOr<std::shared_ptr<const Structure>> StructureStore::Get(uint32_t structure,
                                                                     absl::string_view bytes) {
  MutexLock lock(mutex_);
  std::weak_ptr<const Structure>& entry = structures_[structure];
  if (std::shared_ptr<const Structure> known = entry.lock()) return known;
  MOAI_ASSIGN_OR_RETURN(Graph graph, ParseGraph(bytes));
  std::shared_ptr<const Structure> made = CompileForDevices(std::move(graph));
  entry = made;
  absl::erase_if(structures_, [](const auto& other) { return other.second.expired(); });
  return made;
}

}  // namespace moai
