// The programs that bring a session's objects from one layout to another.
#ifndef MOAI_SERVER_REDISTRIBUTIONS_H_
#define MOAI_SERVER_REDISTRIBUTIONS_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "graph/shape.h"
#include "program/allocation.h"
#include "program/device_graph.h"
#include "scheduler/pool.h"
#include "server/graph_registry.h"
#include "server/layout_table.h"

namespace moai {

struct Redistribution {
  LoadedParts loaded;
  std::vector<DeviceGraph> parts;
  std::vector<StepMemory> memory;  // by device
};

// Not synchronised.
class Redistributions {
 public:
  // So many are kept; at the limit all are forgotten, and made again as they are needed.
  static constexpr size_t kMaxKept = 4096;

  // `devices` are the session's. `unload` is told each that is forgotten and has been loaded.
  Redistributions(absl::Span<const DeviceProfile> devices,
                  std::function<void(const LoadedParts&)> unload)
      : devices_(devices.begin(), devices.end()), unload_(std::move(unload)) {}

  // Made where there is none. Valid until the next call.
  absl::StatusOr<Redistribution*> Find(const TensorType& type, LayoutId from, LayoutId to,
                                       const LayoutTable& layouts,
                                       const std::function<uint32_t()>& new_program_name);

 private:
  struct Key {
    Dtype dtype;
    Shape shape;
    LayoutId from, to;
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      for (const int64_t extent : key.shape) state = H::combine(std::move(state), extent);
      return H::combine(std::move(state), key.dtype, key.shape.rank(), key.from, key.to);
    }
  };

  absl::StatusOr<std::unique_ptr<Redistribution>> Make(const TensorType& type, const Layout& from,
                                                       const Layout& to) const;

  const std::vector<DeviceProfile> devices_;
  const std::function<void(const LoadedParts&)> unload_;
  absl::flat_hash_map<Key, std::unique_ptr<Redistribution>> kept_;
};

}  // namespace moai

#endif  // MOAI_SERVER_REDISTRIBUTIONS_H_
