#include "server/redistributions.h"

#include <utility>

#include "base/status.h"
#include "program/compile.h"
#include "scheduler/redistribution.h"

namespace moai {

absl::StatusOr<std::unique_ptr<Redistribution>> Redistributions::Make(const TensorType& type,
                                                                      const Layout& from,
                                                                      const Layout& to) const {
  auto made = std::make_unique<Redistribution>();
  MOAI_ASSIGN_OR_RETURN(made->parts, MakeRedistribution(type, from, to));
  for (size_t device = 0; device < devices_.size(); ++device) {
    const DeviceGraph& part = made->parts[device];
    if (device > 0 && part.graph == made->parts[device - 1].graph &&
        part.sizes == made->parts[device - 1].sizes) {
      made->memory.push_back(made->memory.back());
      continue;
    }
    MOAI_ASSIGN_OR_RETURN(
        const Program program,
        CompileProgram(*part.graph, part.sizes, DeviceShape{devices_[device].threads}));
    made->memory.push_back(StepMemoryOf(program));
  }
  return made;
}

absl::StatusOr<Redistribution*> Redistributions::Find(
    const TensorType& type, LayoutId from, LayoutId to, const LayoutTable& layouts,
    const std::function<uint32_t()>& new_program_name) {
  const Key key{type.dtype, type.shape, from, to};
  if (auto found = kept_.find(key); found != kept_.end()) return found->second.get();
  MOAI_ASSIGN_OR_RETURN(std::unique_ptr<Redistribution> made,
                        Make(type, layouts[from], layouts[to]));
  made->loaded.program = new_program_name();
  if (kept_.size() >= kMaxKept) {
    for (const auto& [old, redistribution] : kept_) {
      if (!redistribution->loaded.structures.empty()) unload_(redistribution->loaded);
    }
    kept_.clear();
  }
  return kept_.emplace(key, std::move(made)).first->second.get();
}

}  // namespace moai
