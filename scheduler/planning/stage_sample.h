// What a device of one stage takes for a step: seconds from kernels and collectives that overlap
// where data allows, bytes from what is alive. Worked out once for a sample; then summed for any
// stage whose nodes it stands for.
#ifndef MOAI_SCHEDULER_PLANNING_STAGE_SAMPLE_H_
#define MOAI_SCHEDULER_PLANNING_STAGE_SAMPLE_H_

#include <cstdint>
#include <vector>

#include "scheduler/cost/fused_cost.h"
#include "scheduler/cost/topology.h"
#include "scheduler/partition/partitioner.h"
#include "scheduler/planning/evaluate.h"
#include "scheduler/planning/reduced_graph.h"

namespace moai {

// One stage: a micro-batch, and what comes once, or all where there are no micro-batches.
struct StageCost {
  StepCost cost;  // of all micro-batches, but for `seconds`
  double micro_batch = 0;
  double once = 0;
  // Bytes beside state and what comes with the step: the most at once where micro-batches do not
  // count; during them, with one on its way; of that, what goes from its forward to its backward
  // pass.
  double most = 0, loop = 0, crossing = 0;
};

// How many nodes and graph inputs of a stage one of the sampled graph stands for, by their
// positions there. 0: it has none of the sort.
struct StageWeights {
  std::vector<float> nodes;
  std::vector<float> inputs;
};

struct Clock;

// Immutable once made. What it is made of outlives it.
class StageSample {
 public:
  // `types`: of every value of the part. `reduced`: the graph that was partitioned, where nodes may
  // stand for several; else null.
  StageSample(const Cluster& cluster, const PartitionedGraph& partitioned, size_t part,
              absl::Span<const TensorType> types, const EvaluateOptions& options,
              const ReducedGraph* reduced = nullptr);

  // Every node stands for itself.
  StageCost Cost() const { return Sum(nullptr); }
  // Requires a reduced graph.
  StageCost Cost(const StageWeights& weights) const { return Sum(&weights); }

  // Bytes of a value of the sampled graph on a device, as it is made.
  int64_t MadeBytes(ValueId value) const;
  // Whether each micro-batch makes it, and it is read as it is made.
  bool MadeInMicroBatch(ValueId value) const;

 private:
  // A kernel or a collective.
  struct Kernel {
    uint32_t source = 0;  // node of the sampled graph
    double step = 0;      // seconds by which it makes the step longer
    double micro_batch = 0;
    double repeats = 0;  // how often it runs
    double compute = 0;  // seconds, each time
    double communication = 0;
    double flops = 0;
    double sent_bytes = 0;
  };
  // Memory that is given to a value, from one kernel to another.
  struct Life {
    uint32_t source = 0;
    uint32_t first = 0, last = 0;
    double bytes = 0;
  };

  void FindKernels();
  void Schedule(bool micro_batch_only);
  void CostKernel(uint32_t group, Kernel& kernel) const;
  void AddSums(uint32_t group, Kernel& kernel) const;
  double RunCollective(uint32_t group, double start, Clock& clock);
  double SecondsInBucket(const Node& node, bool queued, Clock& clock) const;
  double CollectiveBytes(const Node& node) const;
  bool InMicroBatch(uint32_t group) const {
    return partitioned_.turns[part_][groups_.groups[group].back()] != NodeTurn::kOnce;
  }
  void FindEarly();
  void FindLives();
  StageCost Sum(const StageWeights* weights) const;
  void SumMemory(const StageWeights* weights, StageCost& stage) const;
  // Of the lives that count, between two kernels.
  template <typename Counts>
  double MostAlive(const StageWeights* weights, uint32_t first, uint32_t end,
                   const Counts& counts) const;
  ReducedGraph::Place PlaceOf(uint32_t source) const;

  const Cluster& cluster_;
  const PartitionedGraph& partitioned_;
  const size_t part_;
  const Graph& graph_;  // of the part
  const absl::Span<const TensorType> types_;
  const EvaluateOptions options_;
  const ReducedGraph* const reduced_;
  const KernelGroups groups_;
  std::vector<GroupShape> shapes_;
  std::vector<bool> state_;        // by value: state, or made of it alone
  std::vector<bool> early_;        // by group: makes such values
  std::vector<Kernel> kernels_;    // by group
  std::vector<Life> lives_;        // by their first kernel
  std::vector<uint32_t> deaths_;   // lives by their last kernel
  std::vector<uint32_t> made_by_;  // by node of the sampled graph: the node of the part
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_STAGE_SAMPLE_H_
