// Searches for the fastest plan that fits: how many devices stand along each mesh axis, what each
// axis splits, how state lies, how many micro-batches there are, what is recomputed.
//
// The space has no recipe for an architecture. What an axis may split are lists of roles, grown
// from each role that covers a good share of the arithmetic by whatever covers most of the rest;
// which of them is data, tensor, sequence or expert parallelism is a name that people give
// afterwards.
#ifndef MOAI_SCHEDULER_PLANNING_SEARCH_H_
#define MOAI_SCHEDULER_PLANNING_SEARCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/candidate.h"
#include "scheduler/planning/evaluate.h"
#include "scheduler/planning/recompute.h"
#include "scheduler/planning/reduced_space.h"

namespace moai {

struct EvaluatedCandidate {
  Candidate candidate;
  StepCost cost;
};

// What a user or a benchmark fixes; 0 or unset: free.
struct SearchConstraints {
  int64_t data = 0;   // devices along the axis that splits what comes with each step
  int64_t model = 0;  // devices along the other
  int64_t stages = 0;
  int64_t virtual_stages = 0;
  int64_t micro_batches = 0;
  int state = -1;      // StateSharding
  int recompute = -1;  // RecomputeMode
  // What the model axis splits of that which comes with each step: 0, nothing (tensor
  // parallelism); 1, light nodes (sequence parallelism); 2, heavy ones too (context parallelism).
  int sequence = -1;
  // The model axis splits heavy nodes by what does not come with each step alone (tensor
  // parallelism, whatever it does to light nodes).
  bool tensor = false;
  // Whether the model axis splits first what has weights of its own at each position (expert
  // parallelism): 0 or 1.
  int experts = -1;
};

// What a list for the model axis splits of that which comes with the step: nothing (0), light nodes
// (1), or heavy ones too (2).
int SequenceSplit(const GraphFacts& facts, const std::vector<RoleId>& roles);

struct SearchRequest {
  const Graph* graph = nullptr;
  absl::Span<const int64_t> sizes;
  absl::Span<const TensorType> types;
  const Cluster* cluster = nullptr;
  int64_t devices = 1;
  int64_t memory_bytes = 0;  // of a device
  // What is alive beside the graph's own bindings, on each device.
  int64_t other_bytes = 0;
  Overlap overlap = Overlap::kAll;
  // PartitionRequest::bucket_bytes.
  int64_t bucket_bytes = 0;
  // Nodes that a device's graph may have; 0: any number. Micro-batches are recorded one by one.
  int64_t most_nodes = 0;
  // Cost every candidate by the whole graph, though blocks repeat: slow, for comparison.
  bool whole_graph = false;
  // The most pipeline stages; 1: none.
  int64_t most_stages = 1;
  SearchConstraints constraints;
};

struct SearchResult {
  // Those that are predicted to fit, fastest first; where none does, the smallest first.
  std::vector<EvaluatedCandidate> candidates;
  size_t evaluated = 0;
  size_t fit = 0;       // of those, as they were estimated
  size_t feasible = 0;  // of the candidates, as the best of them were costed in full
};

// `recomputed`: the graph of each RecomputeMode is made once and kept in the result of Facts().
//
// Not thread-safe.
class SearchSpace {
 public:
  static absl::StatusOr<SearchSpace> Make(const SearchRequest& request);

  absl::StatusOr<SearchResult> Search() const;

  // The graph that a candidate partitions, and the facts about it.
  const GraphFacts& facts(RecomputeMode mode) const { return *facts_[size_t(mode)]; }

  // A candidate as a request to the partitioner, for all devices or for the first as a sample.
  absl::StatusOr<PartitionRequest> RequestFor(const Candidate& candidate, bool sample) const;

  std::string Describe(const Candidate& candidate) const;
  // What comes with a step, of which a device has so much at once: samples, mostly.
  int64_t BatchPerDevice(const Candidate& candidate) const;
  // Whether the graph replaces state by what it computes: a training step.
  bool Trains() const;

  // Lists of roles that an axis may split, in order of preference: grown from each role that has a
  // good share of the arithmetic. `data`: only from what comes with each step.
  std::vector<std::vector<RoleId>> GrowLists(const GraphFacts& facts, bool data) const;
  // By the whole graph.
  absl::StatusOr<StepCost> EvaluateCandidate(const Candidate& candidate) const;
  // By one block for many, where blocks repeat: much faster, and nearly the same.
  absl::StatusOr<StepCost> EstimateCandidate(const Candidate& candidate) const;
  // Whether estimates of a mode may differ from evaluations.
  bool estimates(RecomputeMode mode) const { return reduced_[size_t(mode)] != nullptr; }

 private:
  using RoleList = std::vector<RoleId>;

  SearchRequest request_;
  // What was assigned already, by RecomputeMode.
  std::vector<std::shared_ptr<Assignments>> assignments_;
  std::vector<std::shared_ptr<const RewrittenGraph>> graphs_;  // by RecomputeMode
  std::vector<std::shared_ptr<const GraphFacts>> facts_;
  std::vector<std::shared_ptr<ReducedSpace>> reduced_;  // null where nothing repeats
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_SEARCH_H_
