#include "scheduler/partition/testing/random_decisions.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "graph/testing/random_graph.h"
#include "graph/testing/random_node.h"
#include "scheduler/partition/testing/linear_graph.h"

namespace moai {
namespace {

constexpr PlacementKind kKinds[] = {PlacementKind::kReplicate, PlacementKind::kShard,
                                    PlacementKind::kPartial};
constexpr const char* kKindNames[] = {"Replicate", "Shard", "Partial"};
constexpr const char* kInputNames[] = {"", "slot", "value", "feed", "scalar"};
constexpr const char* kScheduleNames[] = {"none", "micro-batches", "1F1B", "interleaved"};

// Replicate is of nodes that are not split at all.
std::set<PlacementKind> KindsOf(const NodeStrategy& strategy) {
  std::set<PlacementKind> kinds;
  const auto add = [&kinds](const AxisPlacement& placement) {
    if (placement.kind != PlacementKind::kReplicate) kinds.insert(placement.kind);
  };
  for (const AxisPlacement& input : strategy.inputs) add(input);
  for (const AxisPlacement& output : strategy.outputs) add(output);
  if (kinds.empty()) kinds.insert(PlacementKind::kReplicate);
  return kinds;
}

}  // namespace

void PlanCoverage::Offer(Op op, const NodeStrategy& strategy) {
  for (const PlacementKind kind : KindsOf(strategy)) offered_.insert({op, kind});
}

void PlanCoverage::Take(Op op, const NodeStrategy& strategy, TimeSchedule schedule) {
  for (const PlacementKind kind : KindsOf(strategy)) ++taken_[{op, kind, schedule}];
}

bool PlanCoverage::Knows(Op op, const NodeStrategy& strategy, TimeSchedule schedule) const {
  const std::set<PlacementKind> kinds = KindsOf(strategy);
  return std::all_of(kinds.begin(), kinds.end(), [&](PlacementKind kind) {
    return taken_.contains({op, kind, schedule});
  });
}

std::vector<PlanCoverage::Cell> PlanCoverage::MissingCells() const {
  std::set<std::pair<Op, PlacementKind>> wanted = offered_;
  for (const OpEntry& entry : ClientOps()) wanted.insert({entry.op, PlacementKind::kReplicate});
  std::vector<Cell> missing;
  for (const auto& [op, kind] : wanted) {
    for (int schedule = 0; schedule < kTimeSchedules; ++schedule) {
      const Cell cell{op, kind, TimeSchedule(schedule)};
      if (!taken_.contains(cell)) missing.push_back(cell);
    }
  }
  return missing;
}

std::vector<std::string> PlanCoverage::Missing() const {
  std::vector<std::string> missing;
  for (const auto& [op, kind, schedule] : MissingCells()) {
    missing.push_back(absl::StrCat(Name(op), " ", kKindNames[size_t(kind)], " ",
                                   kScheduleNames[size_t(schedule)]));
  }
  return missing;
}

std::string PlanCoverage::Table() const {
  std::string text = "op (replicate/shard/partial)";
  for (const char* schedule : kScheduleNames) absl::StrAppend(&text, "  ", schedule);
  for (const OpEntry& entry : ClientOps()) {
    absl::StrAppendFormat(&text, "\n%-24s", entry.name);
    for (int schedule = 0; schedule < kTimeSchedules; ++schedule) {
      std::string cell;
      for (const PlacementKind kind : kKinds) {
        const auto found = taken_.find({entry.op, kind, TimeSchedule(schedule)});
        const bool possible =
            kind == PlacementKind::kReplicate || offered_.contains({entry.op, kind});
        absl::StrAppend(&cell, cell.empty() ? "" : "/",
                        found != taken_.end() ? absl::StrCat(found->second)
                        : possible            ? "0"
                                              : "-");
      }
      absl::StrAppendFormat(&text, "%14s", cell);
    }
  }
  return text;
}

CapturedGraph DrawGraph(std::mt19937_64& random, int most_nodes,
                        const std::optional<PlanCoverage::Cell>& wanted) {
  if (!wanted.has_value()) {
    if (OneIn(random, 4)) return RandomLinearGraph(random);
    const int nodes = int(RandomInt(random, 1, most_nodes));
    return RandomGraph(random, {.nodes = nodes, .max_extent = 6});
  }
  const auto& [op, kind, schedule] = *wanted;
  if (kind == PlacementKind::kPartial && IsLinear(op)) return RandomLinearGraph(random, op);
  return RandomGraph(random, {.nodes = 3, .max_extent = 6, .ops = {op}});
}

std::optional<PlanCoverage::Cell> DrawMissing(std::mt19937_64& random,
                                              const PlanCoverage& coverage) {
  const std::vector<PlanCoverage::Cell> missing = coverage.MissingCells();
  if (missing.empty()) return std::nullopt;
  return missing[random() % missing.size()];
}

RandomDecisions::RandomDecisions(const CapturedGraph& captured, std::mt19937_64& random,
                                 PlanCoverage* coverage)
    : captured_(captured), graph_(captured.graph), random_(random), coverage_(coverage) {
  for (const Node& node : graph_.nodes) {
    std::vector<TensorType> inputs;
    for (ValueId input : node.inputs) inputs.push_back(captured.types[input]);
    signatures_.push_back(*InstantiateSignature(
        node, inputs,
        absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count)));
  }
  factors_ = Factors::Analyze(graph_, captured.types, signatures_);
}

PartitionRequest RandomDecisions::Draw(const DecisionOptions& options) {
  PartitionRequest request;
  request.graph = &graph_;
  request.sizes = captured_.sizes;
  request.types = captured_.types;
  const auto schedule =
      options.schedule.value_or(TimeSchedule(RandomInt(random_, 0, kTimeSchedules - 1)));
  const bool pipeline = schedule >= TimeSchedule::kOneForwardOneBackward;
  int64_t room = options.most_devices;
  if (pipeline) {
    const int64_t stages = RandomInt(random_, 2, 3);
    const bool interleaved = schedule == TimeSchedule::kInterleaved;
    const int64_t chunks = interleaved ? stages * RandomInt(random_, 2, 3) : stages;
    request.mesh.axes.push_back({"stage", stages});
    request.pipeline = RandomCut(stages, uint32_t(chunks));
    room /= stages;
  }
  const int64_t first_axis = pipeline ? 1 : 0;
  const int64_t axes = first_axis + RandomInt(random_, 1, pipeline ? 2 : 3);
  for (int64_t axis = first_axis; axis < axes; ++axis) {
    const int64_t extent = RandomInt(random_, 1, std::min<int64_t>(3, room));
    request.mesh.axes.push_back({absl::StrCat("axis", axis), extent});
    room /= extent;
  }
  request.micro_batches = schedule == TimeSchedule::kNone ? 1 : RandomInt(random_, 2, 3);
  for (int64_t i = 0; i < request.mesh.DeviceCount(); ++i) request.devices.push_back(i);
  for (const Input& input : graph_.inputs) {
    request.inputs.push_back(RandomPlacement(input.value, first_axis, axes, input.kind));
  }
  for (const Output& output : graph_.outputs) {
    request.outputs.push_back(OutputPlacement(output, request, first_axis));
  }
  if (pipeline) request.strategies.emplace_back();
  for (int64_t axis = first_axis; axis < axes; ++axis) {
    request.strategies.push_back(Strategies(/*along_mesh=*/true, schedule));
  }
  if (request.micro_batches > 1) {
    request.strategies.push_back(Strategies(/*along_mesh=*/false, schedule));
  }
  request.scatter_terms = OneIn(random_, 2);
  request.bucket_bytes = OneIn(random_, 2) ? 0 : RandomInt(random_, 1, 200);
  request.gather_again = OneIn(random_, 2);
  request.gather_values_again = OneIn(random_, 2);
  request.turn = uint32_t(random_() % graph_.nodes.size());
  return request;
}

Placement RandomDecisions::RandomPlacement(ValueId value, int64_t first_axis, int64_t axes,
                                           InputKind kind) {
  Placement placement(size_t(axes), AxisPlacement{});
  if (kind == InputKind::kFeed || kind == InputKind::kScalar) return placement;
  std::vector<AxisPlacement> choices(1);
  for (int dim = 0; dim < captured_.types[value].shape.rank(); ++dim) {
    for (const FactorPlace& place : factors_.Of(value, dim)) {
      choices.push_back(ShardAt(dim, place));
    }
  }
  for (int64_t axis = first_axis; axis < axes; ++axis) {
    placement[size_t(axis)] = choices[random_() % choices.size()];
  }
  return placement;
}

Placement RandomDecisions::OutputPlacement(const Output& output, const PartitionRequest& request,
                                           int64_t first_axis) {
  if (output.kind == OutputKind::kSlot) {
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      const Input& input = graph_.inputs[i];
      if (input.kind == InputKind::kSlot && input.index == output.index) return request.inputs[i];
    }
  }
  return RandomPlacement(output.value, first_axis, int64_t(request.mesh.axes.size()),
                         InputKind::kValue);
}

std::vector<const NodeStrategy*> RandomDecisions::Strategies(bool along_mesh,
                                                             TimeSchedule schedule) {
  std::vector<const NodeStrategy*> chosen;
  std::vector<AxisPlacement> made(graph_.values.size());
  for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    std::vector<NodeStrategy> all;
    ListStrategies(graph_, i, captured_.types, signatures_[i], factors_, all);
    if (along_mesh) {
      for (const NodeStrategy& strategy : all) coverage_->Offer(node.op, strategy);
    }
    std::erase_if(all, [&](const NodeStrategy& strategy) {
      if (!along_mesh && strategy.kind == StrategyKind::kExchange) return true;
      for (size_t k = 0; k < node.inputs.size(); ++k) {
        const AxisPlacement& want = strategy.inputs[k];
        if (want.kind == PlacementKind::kPartial && !(made[node.inputs[k]] == want)) return true;
      }
      return false;
    });
    std::vector<NodeStrategy> unknown;
    if (along_mesh) {
      for (const NodeStrategy& strategy : all) {
        if (!coverage_->Knows(node.op, strategy, schedule)) unknown.push_back(strategy);
      }
    }
    if (!unknown.empty()) {
      all = std::move(unknown);
    } else if (all.size() > 1 && !OneIn(random_, 4)) {
      all.erase(all.begin());  // rarely all alike: most nodes are split
    }
    kept_.push_back(all[random_() % all.size()]);
    chosen.push_back(&kept_.back());
    if (along_mesh) coverage_->Take(node.op, *chosen.back(), schedule);
    for (size_t k = 0; k < node.output_count; ++k) {
      made[node.first_output + k] = chosen.back()->outputs[k];
    }
  }
  return chosen;
}

// Forward through the chunks, and some of the way back.
PipelineCut RandomDecisions::RandomCut(int64_t stages, uint32_t chunks) {
  PipelineCut cut{.stages = stages, .chunks = chunks};
  const uint32_t nodes = uint32_t(graph_.nodes.size());
  const uint32_t turn = uint32_t(RandomInt(random_, 0, int64_t(nodes)));
  uint32_t chunk = 0;
  for (uint32_t node = 0; node < nodes; ++node) {
    const bool forward = node < turn;
    if (node == turn && OneIn(random_, 2)) chunk = chunks - 1;
    while (OneIn(random_, 2) && (forward ? chunk + 1 < chunks : chunk > 0)) {
      chunk = forward ? chunk + 1 : chunk - 1;
    }
    cut.chunk_of_node.push_back(chunk);
  }
  std::vector<bool> replaced(graph_.slot_count, false);
  for (const Output& output : graph_.outputs) {
    if (output.kind == OutputKind::kSlot) replaced[output.index] = true;
  }
  for (const Input& input : graph_.inputs) {
    const bool written = input.kind == InputKind::kSlot && replaced[input.index];
    const bool everywhere = !written && OneIn(random_, 4);
    cut.chunk_of_input.push_back(everywhere ? PipelineCut::kEveryStage
                                            : uint32_t(RandomInt(random_, 0, chunks - 1)));
  }
  return cut;
}

std::string Describe(const PartitionRequest& request) {
  std::string text = ToString(Replicated(request.mesh));
  absl::StrAppend(&text, ", micro-batches ", request.micro_batches);
  if (request.pipeline.used()) absl::StrAppend(&text, ", chunks ", request.pipeline.chunks);
  absl::StrAppend(&text, "\n");
  for (size_t i = 0; i < request.graph->inputs.size(); ++i) {
    const Input& input = request.graph->inputs[i];
    absl::StrAppend(&text, "input ", kInputNames[size_t(input.kind)], " ", input.index, " v",
                    input.value, ":", ToString(request.types[input.value]));
    for (const AxisPlacement& axis : request.inputs[i]) {
      absl::StrAppend(&text, " ", ToString(axis));
    }
    if (request.pipeline.used()) {
      absl::StrAppend(&text, " chunk ", int32_t(request.pipeline.chunk_of_input[i]));
    }
    absl::StrAppend(&text, "\n");
  }
  for (uint32_t i = 0; i < request.graph->nodes.size(); ++i) {
    const Node& node = request.graph->nodes[i];
    absl::StrAppend(&text, "node ", i, " ", Name(node.op), " (");
    for (ValueId input : node.inputs) {
      absl::StrAppend(&text, " v", input, ":", ToString(request.types[input]));
    }
    absl::StrAppend(&text, ") -> v", node.first_output, ":",
                    ToString(request.types[node.first_output]));
    if (request.pipeline.used()) {
      absl::StrAppend(&text, " chunk ", request.pipeline.chunk_of_node[i]);
    }
    for (const auto& axis : request.strategies) {
      if (axis.empty()) continue;  // the stages'
      absl::StrAppend(&text, " | ");
      for (const AxisPlacement& in : axis[i]->inputs) absl::StrAppend(&text, ToString(in), " ");
      absl::StrAppend(&text, "-> ");
      for (const AxisPlacement& out : axis[i]->outputs) absl::StrAppend(&text, ToString(out), " ");
    }
    absl::StrAppend(&text, "\n");
  }
  for (size_t i = 0; i < request.graph->outputs.size(); ++i) {
    const Output& output = request.graph->outputs[i];
    absl::StrAppend(&text, "output ", i, " v", output.value);
    if (output.kind == OutputKind::kSlot) absl::StrAppend(&text, " slot ", output.index);
    for (const AxisPlacement& axis : request.outputs[i]) {
      absl::StrAppend(&text, " ", ToString(axis));
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace moai
