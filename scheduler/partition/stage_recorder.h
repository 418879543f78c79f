// Records what the devices of one pipeline stage run: nodes of the whole graph as parts, and the
// redistributions between them. partitioner.cc says which nodes, and in which order.
#ifndef MOAI_SCHEDULER_PARTITION_STAGE_RECORDER_H_
#define MOAI_SCHEDULER_PARTITION_STAGE_RECORDER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "scheduler/partition/devices_builder.h"
#include "scheduler/partition/partitioner.h"
#include "scheduler/partition/redistribute.h"

namespace moai {

// Facts of a request that all stages share.
class PartitionFacts {
 public:
  explicit PartitionFacts(const PartitionRequest& request);

  const PartitionRequest& request() const { return request_; }
  const Graph& graph() const { return *request_.graph; }
  int time() const { return time_; }  // the axis behind the mesh's

  const Shape& whole(ValueId value) const { return request_.types[value].shape; }
  // What a node wants of an operand, and makes of a result: an entry for each axis, time last.
  Placement InputOf(uint32_t node, size_t input) const;
  Placement OutputOf(uint32_t node, size_t output) const;
  Placement OfGraphInput(size_t input) const;
  Placement OfGraphOutput(size_t output) const;
  bool InLoop(uint32_t node) const;
  bool DividesMean(uint32_t node) const;

  bool SplitInTime(const Placement& where) const {
    return where[time_].kind != PlacementKind::kReplicate;
  }
  // Whether micro-batches must be put together on the way from one placement to another.
  bool ThroughWhole(const Placement& from, const Placement& to) const;

  // The node that makes a value; PartitionedGraph::kNoSource of a graph input.
  uint32_t producer(ValueId value) const { return producer_[value]; }
  // The same without parts along the mesh of what is split along time. Axes of the mesh split what
  // a micro-batch has: these parts of several micro-batches do not stand together in the whole.
  Placement OpenInTime(const Placement& where) const;

  // How a value is made.
  const Placement& made(ValueId value) const { return made_[value]; }
  // In which loop over micro-batches, or before it, a node runs.
  uint32_t phase(uint32_t node) const { return phases_[node]; }
  uint32_t last_phase() const { return last_phase_; }
  // Somebody needs all micro-batches of the value together.
  bool joined(ValueId value) const { return joined_[value]; }
  // Of which they make the sum.
  bool summed(ValueId value) const {
    return joined_[value] && made_[value][size_t(time_)].kind == PlacementKind::kPartial;
  }
  // How the first reader wants a value of terms along the mesh: null where it takes them as they
  // are, or is another stage. To be met as soon as the value is there, so that what is sent can be
  // on its way while other nodes run.
  const Placement* first_want(ValueId value) const {
    return first_wants_[value].empty() ? nullptr : &first_wants_[value];
  }
  // Where the terms of micro-batches are summed.
  Placement SumPlace(ValueId value) const;
  // Whether a node reads only the sum of a value's terms, not each.
  bool ReadsSum(uint32_t node, size_t input) const {
    const ValueId value = graph().nodes[node].inputs[input];
    return made_[value][size_t(time_)].kind == PlacementKind::kPartial &&
           ThroughWhole(made_[value], InputOf(node, input));
  }
  // State, or made of nothing else.
  bool is_state(ValueId value) const { return is_state_[value]; }

 private:
  const NodeStrategy* StrategyOf(int axis, uint32_t node) const;
  void FindPhases();
  void FindFirstWants();
  void FindState();

  const PartitionRequest& request_;
  const int time_;
  std::vector<uint32_t> producer_;
  std::vector<Placement> made_;
  std::vector<uint32_t> phases_;  // by node
  uint32_t last_phase_ = 0;
  std::vector<bool> joined_;
  std::vector<Placement> first_wants_;  // by value; empty: none
  std::vector<bool> is_state_;
};

// Not thread-safe. The facts outlive it.
class StageRecorder {
 public:
  // `devices` of the request that are of this stage.
  StageRecorder(const PartitionFacts& facts, std::vector<int64_t> devices);

  // All graph inputs, in order. Of those that the stage does not have, an empty tensor.
  void AddInputs(const std::vector<bool>& present);
  // Later calls are about this micro-batch.
  void SetMicroBatch(int64_t micro_batch) { at_.micro_batch = micro_batch; }
  // Of a pipeline: later calls are about its way back.
  void SetBackward(bool backward) { backward_ = backward; }
  absl::Status EmitNode(uint32_t node);
  // A value of this stage, as it is made, to the stage of the group's second member; and here from
  // there. `split`: one micro-batch of it.
  absl::Status Send(ValueId value, int32_t group);
  absl::Status Receive(ValueId value, int32_t group);
  // The sum of all micro-batches' terms, once the last one has been made.
  absl::Status SendSum(ValueId value, int32_t group);
  absl::Status ReceiveSum(ValueId value, int32_t group);
  bool AtLastMicroBatch() const;
  // Graph output `output`; an empty tensor where the stage does not have it.
  absl::Status AddOutput(size_t output, bool present);

  // Leaves the recorder empty.
  std::vector<DeviceGraph> Finish(std::vector<std::vector<DeviceGroup>> groups);
  const std::vector<NodeTurn>& turns() const { return turns_; }
  // By recorded node; see PartitionedGraph.
  const std::vector<uint32_t>& sources() const { return sources_; }
  // By device and recorded value. Before Finish; nothing is recorded after it.
  std::vector<std::vector<TensorType>> TakeTypes() { return builder_.TakeTypes(); }
  const std::vector<int64_t>& devices() const { return at_.devices; }

 private:
  // A value in one placement. Along time: one id where it is whole, else one a micro-batch.
  struct Version {
    Placement where;
    std::vector<ValueId> ids;
    // When it was made, for what is gathered again later; 0: it stays.
    int64_t period = 0;
  };
  struct State {
    std::vector<Version> versions;  // the first is how it was made
    ValueId sum = UINT32_MAX;       // of the micro-batches so far, where they are terms
  };

  // The value as it is recorded already; UINT32_MAX where it is not.
  ValueId Recorded(ValueId value, const Placement& want);
  absl::StatusOr<ValueId> Get(ValueId value, const Placement& want);
  absl::StatusOr<ValueId> AddReceive(ValueId value, const Placement& where, int32_t group);
  absl::StatusOr<ValueId> Make(ValueId value, const Placement& want);
  absl::Status Join(ValueId value);
  absl::StatusOr<ValueId> Concat(ValueId value, const Version& made);
  absl::StatusOr<ValueId> RepeatSample(ValueId value, const Version& made);
  // A value as it is made, here (`home`) or by the stage that sent it.
  // What a node made: its outputs in their order.
  absl::Status StoreAll(const Node& node, absl::Span<const Placement> places,
                        absl::Span<const ValueId> made);
  absl::Status StoreMade(ValueId value, const Placement& where, ValueId id, bool home);
  absl::Status AddTerm(ValueId value, const Placement& where, ValueId id);
  // A value of terms, as it lies and as it is wanted: whole along one axis.
  struct PendingSum {
    ValueId value = 0;
    Placement from, want;
  };
  // Sums over the devices of an axis that wait for company.
  struct Bucket {
    int axis = 0;
    ReduceKind reduce = ReduceKind::kNone;
    Dtype dtype = Dtype::kF32;
    int64_t bytes = 0;
    std::vector<PendingSum> sums;
  };
  // The axis along which a value only has to be summed; -1 where there is more to do.
  int SumAxis(const Placement& from, const Placement& want) const;
  absl::Status AddToBucket(const PendingSum& sum, int axis);
  absl::Status Flush(Bucket bucket);
  absl::Status FlushFor(ValueId value);
  bool Expired(const Version& version) const {
    return version.period != 0 && version.period != period_;
  }
  const Version* Cheapest(ValueId value, const Placement& want) const;
  static Version* Find(State& state, const Placement& where);
  Version& Store(State& state, const Placement& where, ValueId id);
  size_t Slot(const Placement& where) const {
    return facts_.SplitInTime(where) ? size_t(at_.micro_batch) : 0;
  }
  absl::Status EmitOne(uint32_t node);
  // Says of the nodes recorded since the mark before when they run.
  void MarkNodes(bool in_micro_batch);
  // Says of them for which node they are.
  void MarkSources(uint32_t node) { sources_.resize(builder_.graph().nodes.size(), node); }
  DeviceExtents ExtentsOf(ValueId value, const Placement& where) const;

  const PartitionFacts& facts_;
  const Graph& graph_;
  const int time_;
  DevicesBuilder builder_;
  Coordinates at_;
  std::vector<State> states_;
  std::vector<Bucket> buckets_;
  bool in_loop_ = false;  // the node at hand
  bool backward_ = false;
  int64_t period_ = 1;  // of the node at hand: in which gathered state is kept
  std::vector<NodeTurn> turns_;
  std::vector<uint32_t> sources_;
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_STAGE_RECORDER_H_
