// Compiled structures, which the devices of an executor share: each is compiled once, by the first
// device that is told of it.
#ifndef MOAI_WORKER_EXECUTOR_STRUCTURE_STORE_H_
#define MOAI_WORKER_EXECUTOR_STRUCTURE_STORE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "graph/graph.h"
#include "program/compile.h"

namespace moai {

struct Structure {
  Graph graph;
  std::shared_ptr<const ProgramTemplate> compiled;
  absl::Status status;            // why it could not be compiled
  std::vector<uint32_t> written;  // slot bindings that a step replaces
};

// The graph has been verified by whoever sends it.
std::shared_ptr<const Structure> CompileForDevices(Graph graph);

// Thread-safe.
class StructureStore {
 public:
  // The structure of that name, whose serialised graph is `bytes`. Other devices wait while it is
  // compiled. An error where the bytes are no graph.
  absl::StatusOr<std::shared_ptr<const Structure>> Get(uint32_t structure, absl::string_view bytes);

 private:
  Mutex mutex_;
  // While some device has it.
  absl::flat_hash_map<uint32_t, std::weak_ptr<const Structure>> structures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_STRUCTURE_STORE_H_
