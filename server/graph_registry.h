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
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/fingerprint.h"
#include "graph/graph.h"
#include "program/compile.h"
#include "program/step_account.h"
#include "scheduler/planner.h"
#include "server/layout_table.h"

namespace moai {

// What devices run, as the executors know it.
struct LoadedParts {
  uint32_t program = 0;                // its name in commands
  std::vector<uint32_t> structures;    // by device; empty until the executors have been told
  std::vector<CollectiveCounts> sent;  // by device; filled only where steps are logged
};

// A plan. Kept until it has not been used for long, or its graph goes.
struct PlannedProgram {
  LoadedParts loaded;
  Sizes sizes;
  std::shared_ptr<const Plan> plan;  // null where planning failed
  absl::Status status;
  int64_t other_bytes = 0;  // that it was made for
  // Of the plan, as the session numbers them; empty until it has.
  std::vector<LayoutId> slot_layouts, value_layouts, output_layouts;
  bool layouts_known = false;
};

struct RegisteredGraph {
  Fingerprint fingerprint;
  uint32_t name = 0;  // in commands
  std::shared_ptr<const Graph> graph;
  std::shared_ptr<const ProgramTemplate> compiled;
  absl::Status status;  // why its steps are refused: it did not verify, or did not compile
  size_t value_outputs = 0;
  std::vector<uint32_t> created;   // slot bindings that only outputs name
  std::vector<uint32_t> replaced;  // slot bindings that outputs name

  // As of the last step of this graph: what the next one may leave out.
  std::vector<uint64_t> slots;
  std::vector<Scalar> scalars;
  Sizes sizes;
  PlannedProgram* planned = nullptr;  // of `sizes`; null until asked for, and once forgotten
  bool seen = false;                  // a step has brought all sizes and scalars
  // The checks of `slots` against `checked_plan` hold while the table's slots_version is this.
  const PlannedProgram* checked_plan = nullptr;
  uint64_t checked_version = 0;
  // Likewise, that they lie as `arranged_plan` wants them.
  const PlannedProgram* arranged_plan = nullptr;
  uint64_t arranged_version = 0;
  // What the executors remember: after a refused step they are behind, and are told everything.
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
  // `unload` is told each program that is forgotten and has been loaded.
  // `larger` is what the planner may name when it refuses.
  GraphRegistry(Planner* planner, std::vector<DeviceProfile> devices,
                std::vector<PlannedSize> larger,
                std::function<void(const LoadedParts& parts)> unload,
                const RegistryLimits& limits = {});

  // Parses, verifies, recomputes the fingerprint and compiles. A graph that fails is kept with its
  // error: its steps are refused with it. Null, with the reason, for a limit.
  absl::StatusOr<RegisteredGraph*> Register(const Fingerprint& fingerprint,
                                            absl::string_view bytes);
  RegisteredGraph* Find(const Fingerprint& fingerprint) const;

  // The plan of a graph at graph.sizes, made where there is none; it becomes graph.planned.
  // `other_bytes` is what is alive beside its bindings (PlanRequest). A refusal is an entry too, so
  // that repeating it is cheap; one for lack of memory is made again where there is more of it.
  // Valid until the next call.
  PlannedProgram* Plan(RegisteredGraph& graph, int64_t other_bytes);
  bool HasPlan(const RegisteredGraph& graph, absl::Span<const int64_t> sizes) const;

  // What Register and Plan will do next, but for the entry: the part that takes long. Changes
  // nothing that the other calls see.
  void PrepareGraph(const Fingerprint& fingerprint, absl::string_view bytes);
  void PreparePlan(const RegisteredGraph& graph, absl::Span<const int64_t> sizes,
                   int64_t other_bytes);

  size_t plan_count() const { return plans_.size(); }
  // A name for a program that is none of a graph's.
  uint32_t NewProgramName() { return next_program_++; }
  // A name under which executors remember slots and scalars, that is none of a graph's.
  uint32_t NewGraphName() { return next_name_++; }

 private:
  struct Key {
    uint32_t graph;                   // its name
    absl::Span<const int64_t> sizes;  // of the entry
    friend bool operator==(const Key& a, const Key& b) {
      return a.graph == b.graph && a.sizes == b.sizes;
    }
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      return H::combine_contiguous(H::combine(std::move(state), key.graph), key.sizes.data(),
                                   key.sizes.size());
    }
  };
  struct Entry {
    PlannedProgram program;
    RegisteredGraph* graph;
    size_t cost;
  };

  struct PreparedPlan {
    uint32_t graph = 0;  // its name
    Sizes sizes;
    int64_t other_bytes = 0;
    absl::StatusOr<std::shared_ptr<const moai::Plan>> plan;
  };

  absl::Status Verify(RegisteredGraph& graph, absl::string_view bytes) const;
  absl::StatusOr<std::shared_ptr<const moai::Plan>> MakePlan(const RegisteredGraph& graph,
                                                             absl::Span<const int64_t> sizes,
                                                             int64_t other_bytes) const;
  void Remove(std::list<Entry>::iterator entry);
  void ForgetOne();

  Planner* const planner_;
  const std::vector<DeviceProfile> devices_;
  const std::vector<PlannedSize> larger_;
  const std::function<void(const LoadedParts&)> unload_;
  const RegistryLimits limits_;
  absl::flat_hash_map<Fingerprint, std::unique_ptr<RegisteredGraph>> graphs_;
  size_t graph_bytes_ = 0;
  uint32_t next_name_ = 1;
  std::list<Entry> recent_;  // most recently planned or looked up first
  absl::flat_hash_map<Key, std::list<Entry>::iterator> plans_;
  size_t cost_ = 0;
  uint32_t next_program_ = 1;
  std::unique_ptr<RegisteredGraph> prepared_graph_;
  std::optional<PreparedPlan> prepared_plan_;
};

}  // namespace moai

#endif  // MOAI_SERVER_GRAPH_REGISTRY_H_
