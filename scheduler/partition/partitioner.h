// Rewrites a graph into what each device runs, under a decision for every node and axis.
//
// Time is an axis like those of the mesh, the last: along it, parts are micro-batches, which run
// one after another on the same device, and Partial is accumulation. Nodes that are not split along
// time run once: before the micro-batches where they depend on none of them, after them where they
// need all.
#ifndef MOAI_SCHEDULER_PARTITION_PARTITIONER_H_
#define MOAI_SCHEDULER_PARTITION_PARTITIONER_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "program/device_graph.h"
#include "scheduler/partition/strategy.h"
#include "scheduler/placement.h"

namespace moai {

// How the nodes are spread over the stages of a pipeline. A chunk is a stretch of the model; stage
// c % stages has chunk c (more chunks than stages: interleaved, Megatron's virtual stages).
struct PipelineCut {
  // State that only is read, by several stages: each has it.
  static constexpr uint32_t kEveryStage = UINT32_MAX;

  int64_t stages = 1;
  uint32_t chunks = 1;
  std::vector<uint32_t> chunk_of_node;
  std::vector<uint32_t> chunk_of_input;  // by graph input: where state lives, or kEveryStage
  // Nodes after this one are of the backward pass, also those that need nothing of it: what is
  // computed again is computed there.
  uint32_t turn = UINT32_MAX;
  bool used() const { return stages > 1; }
};

struct PartitionRequest {
  const Graph* graph = nullptr;  // verified
  absl::Span<const int64_t> sizes;
  absl::Span<const TensorType> types;  // of every value
  Mesh mesh;
  int64_t micro_batches = 1;
  // With a pipeline, the mesh's first axis is its stages.
  PipelineCut pipeline;
  // By axis (the mesh's, then time where micro_batches > 1) and node; nothing for the stages' axis.
  // An input is required as Partial only where its producer made it so along that axis.
  // They outlive the request.
  std::vector<std::vector<const NodeStrategy*>> strategies;
  // Along the mesh's axes, by graph input (of feeds and scalars: not read, they are whole) and by
  // graph output. An output that replaces a slot lies as the input that reads it.
  std::vector<Placement> inputs;
  std::vector<Placement> outputs;
  // Sums over micro-batches lie along the mesh as their first reader wants them split, so that each
  // term is reduced and scattered as it comes (ZeRO 2). False: whole terms are summed, and the sum
  // is reduced once.
  bool scatter_terms = false;
  // Terms of sums over devices that are wanted whole are summed together, up to so many bytes at
  // once; 0: each by itself. For links on which a short collective costs as much as a longer one.
  int64_t bucket_bytes = 0;
  // The last node of the forward pass, where it is known.
  uint32_t turn = UINT32_MAX;
  // State that was gathered for a node up to the turn is gathered again for those behind it, and in
  // each micro-batch (ZeRO 3). Otherwise what was gathered stays.
  bool gather_again = false;
  // The same of what is made from what comes with the step: the backward pass gathers again what
  // the forward pass gathered (Korthikanti et al., arXiv 2205.05198, 4.2.2).
  bool gather_values_again = false;
  // For which devices sizes are wanted: all, or some while plans are compared.
  std::vector<int64_t> devices;
  // Record the first micro-batch only, which stands for all: for comparing plans. Requires that
  // micro-batches are of equal size.
  bool sample = false;
};

// When a node of a part runs.
enum class NodeTurn : uint8_t {
  kOnce,
  // In each micro-batch: in the forward pass (or where that is not known), or on the way back.
  kMicroBatch,
  kBackward,
};

struct PartitionedGraph {
  // Of the requested devices, in their order; those of one stage share one structure.
  std::vector<DeviceGraph> parts;
  // By part and node of its structure. In a sample, one micro-batch stands for all.
  std::vector<std::vector<NodeTurn>> turns;
  // By part and node of its structure: the node of the whole graph that it is of, or for which a
  // value was moved; kNoSource where a graph input is given out.
  static constexpr uint32_t kNoSource = UINT32_MAX;
  std::vector<std::vector<uint32_t>> sources;
  // By part and node of its structure: it makes terms of a sum over micro-batches.
  std::vector<std::vector<bool>> makes_terms;
  // Of a sample, by part: of every value.
  std::vector<std::vector<TensorType>> types;
  // By value of the whole graph: its micro-batches' terms are summed, and the sum alone is read.
  std::vector<bool> summed;
};

// Unimplemented where a strategy asks for a redistribution that does not exist.
absl::StatusOr<PartitionedGraph> Partition(const PartitionRequest& request);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_PARTITIONER_H_
