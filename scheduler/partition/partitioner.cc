#include "scheduler/partition/partitioner.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/partition/layouts.h"
#include "scheduler/partition/pipeline_order.h"
#include "scheduler/partition/stage_recorder.h"

namespace moai {
namespace {

class Partitioner {
 public:
  explicit Partitioner(const PartitionRequest& request)
      : request_(request),
        graph_(*request.graph),
        facts_(request),
        stages_(uint32_t(std::max<int64_t>(1, request.pipeline.stages))),
        input_stages_(StagesOfInputs(request)),
        output_stages_(StagesOfOutputs(request)) {}

  absl::StatusOr<PartitionedGraph> Run() {
    MOAI_RETURN_IF_ERROR(CheckTime());
    MOAI_RETURN_IF_ERROR(FindStages());
    for (uint32_t stage = 0; stage < stages_; ++stage) recorders_[stage]->AddInputs(Present(stage));
    for (const Input& input : graph_.inputs) MOAI_RETURN_IF_ERROR(HandOn(input.value));
    for (uint32_t phase = 0; phase <= facts_.last_phase(); ++phase) {
      MOAI_RETURN_IF_ERROR(RunWholeNodes(phase));
      MOAI_RETURN_IF_ERROR(RunMicroBatches(phase));
    }
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      for (uint32_t stage = 0; stage < stages_; ++stage) {
        MOAI_RETURN_IF_ERROR(recorders_[stage]->AddOutput(i, stage == output_stages_[i]));
      }
    }
    return Finish();
  }

 private:
  uint32_t StageOfNode(uint32_t node) const {
    return request_.pipeline.used() ? request_.pipeline.chunk_of_node[node] % stages_ : 0;
  }
  // Micro-batches cannot exchange anything: they come one after the other.
  absl::Status CheckTime() const {
    if (request_.strategies.size() <= request_.mesh.axes.size()) return absl::OkStatus();
    for (const NodeStrategy* strategy : request_.strategies.back()) {
      if (strategy != nullptr && strategy->kind == StrategyKind::kExchange) {
        return absl::InvalidArgumentError("classes of a cross entropy cannot be split along time");
      }
    }
    return absl::OkStatus();
  }

  absl::Status FindStages() {
    std::vector<std::vector<int64_t>> devices(stages_);
    for (int64_t device : request_.devices) {
      devices[stages_ == 1 ? 0 : size_t(request_.mesh.Coordinate(device, 0))].push_back(device);
    }
    for (uint32_t stage = 0; stage < stages_; ++stage) {
      if (devices[stage].empty()) {
        return absl::InvalidArgumentError(absl::StrCat("no device of stage ", stage));
      }
      recorders_.push_back(std::make_unique<StageRecorder>(facts_, std::move(devices[stage])));
    }
    home_.assign(graph_.values.size(), 0);
    wanted_.resize(graph_.values.size());
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const bool everywhere = input_stages_[i] == PipelineCut::kEveryStage;
      home_[graph_.inputs[i].value] = everywhere ? 0 : input_stages_[i];
      if (everywhere) everywhere_.insert(graph_.inputs[i].value);
    }
    for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
      const Node& n = graph_.nodes[node];
      for (uint32_t k = 0; k < n.output_count; ++k) home_[n.first_output + k] = StageOfNode(node);
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        Want(n.inputs[i], StageOfNode(node), facts_.ReadsSum(node, i));
      }
    }
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      Want(graph_.outputs[i].value, output_stages_[i], false);
    }
    return absl::OkStatus();
  }

  // `sum`: not each micro-batch's term.
  void Want(ValueId value, uint32_t stage, bool sum) {
    if (stage == home_[value] || everywhere_.contains(value)) return;
    if (!sum) reads_terms_.insert({value, stage});
    std::vector<uint32_t>& wanted = wanted_[value];
    if (std::find(wanted.begin(), wanted.end(), stage) == wanted.end()) wanted.push_back(stage);
  }

  std::vector<bool> Present(uint32_t stage) const {
    std::vector<bool> present;
    for (uint32_t home : input_stages_)
      present.push_back(home == PipelineCut::kEveryStage || home == stage);
    return present;
  }

  int32_t PairGroup(uint32_t from, uint32_t to) const {
    return int32_t(request_.mesh.axes.size() + from * stages_ + to);
  }

  // Sends a value that was just made to the stages that will read it.
  absl::Status HandOn(ValueId value) {
    for (uint32_t stage : wanted_[value]) {
      const int32_t group = PairGroup(home_[value], stage);
      if (!reads_terms_.contains({value, stage})) {
        if (!recorders_[home_[value]]->AtLastMicroBatch()) continue;
        MOAI_RETURN_IF_ERROR(recorders_[home_[value]]->SendSum(value, group));
        MOAI_RETURN_IF_ERROR(recorders_[stage]->ReceiveSum(value, group));
        continue;
      }
      MOAI_RETURN_IF_ERROR(recorders_[home_[value]]->Send(value, group));
      MOAI_RETURN_IF_ERROR(recorders_[stage]->Receive(value, group));
    }
    return absl::OkStatus();
  }

  absl::Status EmitNode(uint32_t node) { return recorders_[StageOfNode(node)]->EmitNode(node); }
  absl::Status HandOnOutputs(uint32_t node) {
    const Node& n = graph_.nodes[node];
    for (uint32_t k = 0; k < n.output_count; ++k) {
      MOAI_RETURN_IF_ERROR(HandOn(n.first_output + k));
    }
    return absl::OkStatus();
  }
  bool IsWanted(uint32_t node) const {
    const Node& n = graph_.nodes[node];
    for (uint32_t k = 0; k < n.output_count; ++k) {
      if (!wanted_[n.first_output + k].empty()) return true;
    }
    return false;
  }

  absl::Status Emit(uint32_t node) {
    MOAI_RETURN_IF_ERROR(EmitNode(node));
    return HandOnOutputs(node);
  }

  // What other stages want of a leg goes to them when the last of it is made: transfers next to
  // each other are executed at once, and a stage that sent one before would first wait for what
  // comes before it in the order of transfers.
  absl::Status EmitLeg(const std::vector<uint32_t>& nodes) {
    size_t wanted = nodes.size();  // up to and with the last node of which something is wanted
    while (wanted > 0 && !IsWanted(nodes[wanted - 1])) --wanted;
    for (size_t i = 0; i < nodes.size(); ++i) {
      MOAI_RETURN_IF_ERROR(EmitNode(nodes[i]));
      if (i + 1 != wanted) continue;
      for (size_t j = 0; j < wanted; ++j) MOAI_RETURN_IF_ERROR(HandOnOutputs(nodes[j]));
    }
    return absl::OkStatus();
  }

  void SetMicroBatch(int64_t micro_batch) {
    for (auto& recorder : recorders_) recorder->SetMicroBatch(micro_batch);
  }

  absl::Status RunWholeNodes(uint32_t phase) {
    SetMicroBatch(0);
    for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
      if (facts_.phase(node) != phase || facts_.InLoop(node)) continue;
      MOAI_RETURN_IF_ERROR(Emit(node));
    }
    return absl::OkStatus();
  }

  absl::Status RunMicroBatches(uint32_t phase) {
    const int64_t micro_batches = request_.sample ? 1 : request_.micro_batches;
    std::vector<uint32_t> nodes;
    for (uint32_t node = 0; node < graph_.nodes.size(); ++node) {
      if (facts_.phase(node) == phase && facts_.InLoop(node)) nodes.push_back(node);
    }
    if (nodes.empty()) return absl::OkStatus();
    if (stages_ == 1) {
      for (int64_t i = 0; i < micro_batches; ++i) {
        SetMicroBatch(i);
        for (uint32_t node : nodes) {
          recorders_[0]->SetBackward(node > request_.turn);
          MOAI_RETURN_IF_ERROR(Emit(node));
        }
      }
      return absl::OkStatus();
    }
    MOAI_ASSIGN_OR_RETURN(const std::vector<std::vector<uint32_t>> legs,
                          LegsOf(graph_, request_.pipeline, nodes));
    for (const PipelineItem& item : OrderPipeline(request_.pipeline, legs, micro_batches)) {
      SetMicroBatch(item.micro_batch);
      for (auto& recorder : recorders_) recorder->SetBackward(item.leg >= request_.pipeline.chunks);
      MOAI_RETURN_IF_ERROR(EmitLeg(legs[item.leg]));
    }
    return absl::OkStatus();
  }

  std::vector<DeviceGroup> GroupsOf(int64_t device, uint32_t stage) const {
    std::vector<DeviceGroup> groups;
    for (int axis = 0; axis < facts_.time(); ++axis) {
      groups.push_back(request_.mesh.Group(device, axis));
    }
    if (stages_ == 1) return groups;
    // Devices of the same place in other stages. Pairs of others are never named here.
    const DeviceGroup column = request_.mesh.Group(device, 0);
    for (uint32_t from = 0; from < stages_; ++from) {
      for (uint32_t to = 0; to < stages_; ++to) {
        groups.emplace_back();
        if (from != to && (from == stage || to == stage)) {
          groups.back() = {column[from], column[to]};
        }
      }
    }
    return groups;
  }

  std::vector<bool> MakesTerms(const Graph& part, const std::vector<uint32_t>& sources) const {
    std::vector<bool> makes_terms(part.nodes.size(), false);
    for (uint32_t i = 0; i < part.nodes.size(); ++i) {
      if (sources[i] == PartitionedGraph::kNoSource) continue;
      const Node& node = graph_.nodes[sources[i]];
      for (uint32_t k = 0; k < node.output_count; ++k) {
        if (part.nodes[i].op != node.op) continue;  // moves a value for it
        makes_terms[i] = makes_terms[i] || facts_.summed(node.first_output + k);
      }
    }
    return makes_terms;
  }

  PartitionedGraph Finish() {
    PartitionedGraph result;
    result.parts.resize(request_.devices.size());
    result.turns.resize(request_.devices.size());
    result.sources.resize(request_.devices.size());
    result.makes_terms.resize(request_.devices.size());
    if (request_.sample) result.types.resize(request_.devices.size());
    for (uint32_t stage = 0; stage < stages_; ++stage) {
      StageRecorder& recorder = *recorders_[stage];
      const std::vector<int64_t> devices = recorder.devices();
      const std::vector<NodeTurn> turns = recorder.turns();
      const std::vector<uint32_t> sources = recorder.sources();
      std::vector<std::vector<TensorType>> types;
      if (request_.sample) types = recorder.TakeTypes();
      std::vector<std::vector<DeviceGroup>> groups;
      for (int64_t device : devices) groups.push_back(GroupsOf(device, stage));
      std::vector<DeviceGraph> parts = recorder.Finish(std::move(groups));
      for (size_t i = 0; i < devices.size(); ++i) {
        const size_t at =
            size_t(std::find(request_.devices.begin(), request_.devices.end(), devices[i]) -
                   request_.devices.begin());
        result.parts[at] = std::move(parts[i]);
        result.makes_terms[at] = MakesTerms(*result.parts[at].graph, sources);
        result.turns[at] = turns;
        result.sources[at] = sources;
        if (request_.sample) result.types[at] = std::move(types[i]);
      }
    }
    result.summed.resize(graph_.values.size());
    for (ValueId value = 0; value < graph_.values.size(); ++value) {
      result.summed[value] = facts_.summed(value);
    }
    return result;
  }

  const PartitionRequest& request_;
  const Graph& graph_;
  const PartitionFacts facts_;
  const uint32_t stages_;
  const std::vector<uint32_t> input_stages_, output_stages_;
  std::vector<std::unique_ptr<StageRecorder>> recorders_;
  std::vector<uint32_t> home_;                 // by value: the stage that makes it
  std::vector<std::vector<uint32_t>> wanted_;  // by value: other stages that read it
  // Which stages need a value as it is made, rather than the sum of its terms along time.
  std::set<std::pair<ValueId, uint32_t>> reads_terms_;
  std::set<ValueId> everywhere_;  // inputs that every stage has
};

}  // namespace

absl::StatusOr<PartitionedGraph> Partition(const PartitionRequest& request) {
  return Partitioner(request).Run();
}

}  // namespace moai
