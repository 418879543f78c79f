// Records one structure for several devices at once: what differs between them are extents.
#ifndef MOAI_SCHEDULER_PARTITION_DEVICES_BUILDER_H_
#define MOAI_SCHEDULER_PARTITION_DEVICES_BUILDER_H_

#include <map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "program/device_graph.h"

namespace moai {

// Extents of a node, by device; one entry where all have the same.
using DeviceExtents = std::vector<std::vector<int64_t>>;

// Not thread-safe.
class DevicesBuilder {
 public:
  // The devices for which sizes are recorded: all of a session, or, while plans are compared, some
  // that stand for the rest.
  explicit DevicesBuilder(size_t devices) : sizes_(devices), types_(devices) {}

  size_t devices() const { return sizes_.size(); }

  // `shapes` by device.
  ValueId AddInput(InputKind kind, uint32_t index, Dtype dtype, absl::Span<const Shape> shapes);
  // Every client scalar is there before the first constant.
  ValueId AddConstant(Dtype dtype, double number);

  // Returns the first output. An error where inference refuses the node on some device.
  absl::StatusOr<ValueId> AddNode(Op op, absl::Span<const ValueId> inputs,
                                  absl::Span<const int32_t> attributes = {},
                                  const DeviceExtents& extents = {},
                                  absl::Span<const double> numbers = {});

  void AddOutput(OutputKind kind, ValueId value, uint32_t index = 0) {
    graph_.outputs.push_back({kind, value, index});
    if (kind == OutputKind::kSlot && graph_.slot_count <= index) graph_.slot_count = index + 1;
  }

  Dtype dtype(ValueId value) const { return graph_.values[value].dtype; }
  const Shape& shape(ValueId value, size_t device) const { return types_[device][value].shape; }
  const Graph& graph() const { return graph_; }
  // By device and value. Nothing may be recorded after it.
  std::vector<std::vector<TensorType>> TakeTypes() { return std::move(types_); }

  // What was recorded; `groups` by device. Leaves the builder empty.
  std::vector<DeviceGraph> Finish(std::vector<std::vector<DeviceGroup>> groups);

 private:
  Graph graph_;
  std::vector<Sizes> input_sizes_;  // by device; made with the first input
  std::vector<Sizes> sizes_;        // of nodes, by device
  std::vector<std::vector<TensorType>> types_;
  std::map<std::pair<Dtype, double>, ValueId> constants_;
  std::vector<Scalar> constant_values_;
  std::vector<TensorType> inputs_;  // scratch
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_DEVICES_BUILDER_H_
