// Every decision of a partition, drawn at random, and the record of which were drawn: for tests.
#ifndef MOAI_SCHEDULER_PARTITION_TESTING_RANDOM_DECISIONS_H_
#define MOAI_SCHEDULER_PARTITION_TESTING_RANDOM_DECISIONS_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "graph/builder.h"
#include "scheduler/partition/factors.h"
#include "scheduler/partition/partitioner.h"
#include "scheduler/partition/strategy.h"

namespace moai {

// How time is split.
enum class TimeSchedule : uint8_t { kNone, kMicroBatches, kOneForwardOneBackward, kInterleaved };
inline constexpr int kTimeSchedules = 4;

// Which placements the nodes of each op have had along a mesh axis, under each schedule.
class PlanCoverage {
 public:
  using Cell = std::tuple<Op, PlacementKind, TimeSchedule>;

  // A strategy that some node could be given, and one that a node of a plan that ran was given.
  void Offer(Op op, const NodeStrategy& strategy);
  void Take(Op op, const NodeStrategy& strategy, TimeSchedule schedule);
  // Whether taking it would tell nothing new.
  bool Knows(Op op, const NodeStrategy& strategy, TimeSchedule schedule) const;
  // What was offered, under whatever schedule, has to be taken under every one; and every op that
  // clients can record has to be there.
  std::vector<Cell> MissingCells() const;
  std::vector<std::string> Missing() const;  // in words
  // A line for each op: how often under each schedule, for Replicate, Shard and Partial.
  std::string Table() const;

 private:
  std::set<std::pair<Op, PlacementKind>> offered_;
  std::map<Cell, int> taken_;
};

struct DecisionOptions {
  int64_t most_devices = 27;
  std::optional<TimeSchedule> schedule;  // any
};

// A random graph of at most so many nodes: any, or one in which `wanted` is likely to occur.
CapturedGraph DrawGraph(std::mt19937_64& random, int most_nodes,
                        const std::optional<PlanCoverage::Cell>& wanted);
// One of what is missing, if anything is.
std::optional<PlanCoverage::Cell> DrawMissing(std::mt19937_64& random,
                                              const PlanCoverage& coverage);

// For one graph. `captured`, `random` and `coverage` outlive it, and it the requests.
class RandomDecisions {
 public:
  RandomDecisions(const CapturedGraph& captured, std::mt19937_64& random, PlanCoverage* coverage);

  // Draws what `coverage` does not know more often. What is drawn counts as taken.
  PartitionRequest Draw(const DecisionOptions& options = {});

 private:
  Placement RandomPlacement(ValueId value, int64_t first_axis, int64_t axes, InputKind kind);
  Placement OutputPlacement(const Output& output, const PartitionRequest& request,
                            int64_t first_axis);
  std::vector<const NodeStrategy*> Strategies(bool along_mesh, TimeSchedule schedule);
  PipelineCut RandomCut(int64_t stages, uint32_t chunks);

  const CapturedGraph& captured_;
  const Graph& graph_;
  std::mt19937_64& random_;
  PlanCoverage* const coverage_;
  std::vector<IndexSignature> signatures_;
  Factors factors_;
  std::deque<NodeStrategy> kept_;
};

// Mesh, micro-batches, and every node with its strategies.
std::string Describe(const PartitionRequest& request);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_TESTING_RANDOM_DECISIONS_H_
