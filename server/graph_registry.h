// The structures that one session has registered, verified from scratch, and their plans at the
// size vectors it uses.
//
// Not synchronised.
#ifndef MOAI_SERVER_GRAPH_REGISTRY_H_
#define MOAI_SERVER_GRAPH_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/fingerprint.h"
#include "graph/graph.h"
#include "program/compile.h"
#include "scheduler/planner.h"

namespace moai {

// A plan as the executor knows it. Kept until it has not been used for long, or its graph goes.
struct PlannedProgram {
  uint32_t program = 0;  // its name at the executor
  Sizes sizes;
  std::shared_ptr<const Plan> plan;  // null where planning failed
  absl::Status status;
  bool loaded = false;  // the executor has been told
};

struct RegisteredGraph {
  Fingerprint fingerprint;
  uint32_t structure = 0;  // its name at the executor
  std::shared_ptr<const Graph> graph;
  std::shared_ptr<const ProgramTemplate> compiled;
  absl::Status status;  // why its steps are refused: it did not verify, or did not compile
  size_t value_outputs = 0;
  std::vector<uint32_t> created;   // slot bindings that only outputs name
  std::vector<uint32_t> replaced;  // slot bindings that outputs name
  bool loaded = false;             // the executor has been told

  // As of the last step of this graph: what the next one may leave out.
  std::vector<uint64_t> slots;
  std::vector<Scalar> scalars;
  Sizes sizes;
  PlannedProgram* planned = nullptr;  // of `sizes`; null until asked for, and once forgotten
  bool seen = false;                  // a step has brought all sizes and scalars
  // The checks of `slots` against `checked_plan` hold while the table's slots_version is this.
  const PlannedProgram* checked_plan = nullptr;
  uint64_t checked_version = 0;
  // What the executor remembers: after a refused step it is behind, and is told everything.
  bool executor_has_slots = false;
  bool executor_has_scalars = false;
};

struct RegistryLimits {
  size_t max_graphs = 16384;
  size_t max_graph_bytes = size_t{1} << 30;   // serialised, of all graphs together
  size_t max_instructions = size_t{1} << 20;  // of all plans that are kept together
};

class GraphRegistry {
 public:
  // `unload` is told each program that is forgotten.
  GraphRegistry(Planner* planner, std::vector<DeviceProfile> devices,
                std::function<void(uint32_t program)> unload, const RegistryLimits& limits = {});

  // Parses, verifies, recomputes the fingerprint and compiles. A graph that fails is kept with its
  // error: its steps are refused with it. Null, with the reason, for a limit.
  absl::StatusOr<RegisteredGraph*> Register(const Fingerprint& fingerprint,
                                            absl::string_view bytes);
  RegisteredGraph* Find(const Fingerprint& fingerprint);

  // The plan of a graph at graph.sizes, made where there is none; it becomes graph.planned. A
  // refusal is an entry too, so that repeating it is cheap. Valid until the next call.
  PlannedProgram* Plan(RegisteredGraph& graph);
  bool HasPlan(const RegisteredGraph& graph, absl::Span<const int64_t> sizes) const;
  size_t plan_count() const { return plans_.size(); }

 private:
  struct Key {
    uint32_t structure;
    absl::Span<const int64_t> sizes;  // of the entry
    friend bool operator==(const Key& a, const Key& b) {
      return a.structure == b.structure && a.sizes == b.sizes;
    }
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      return H::combine_contiguous(H::combine(std::move(state), key.structure), key.sizes.data(),
                                   key.sizes.size());
    }
  };
  struct Entry {
    PlannedProgram program;
    RegisteredGraph* graph;
    size_t cost;
  };

  absl::Status Prepare(RegisteredGraph& graph, absl::string_view bytes);
  absl::StatusOr<std::shared_ptr<const moai::Plan>> MakePlan(const RegisteredGraph& graph);
  void ForgetOne();

  Planner* const planner_;
  const std::vector<DeviceProfile> devices_;
  const std::function<void(uint32_t)> unload_;
  const RegistryLimits limits_;
  absl::flat_hash_map<Fingerprint, std::unique_ptr<RegisteredGraph>> graphs_;
  size_t graph_bytes_ = 0;
  uint32_t next_structure_ = 1;
  std::list<Entry> recent_;  // most recently planned or looked up first
  absl::flat_hash_map<Key, std::list<Entry>::iterator> plans_;
  size_t cost_ = 0;
  uint32_t next_program_ = 1;
};

}  // namespace moai

#endif  // MOAI_SERVER_GRAPH_REGISTRY_H_
