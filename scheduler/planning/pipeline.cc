#include "scheduler/planning/pipeline.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/planning/even_cuts.h"
#include "scheduler/planning/forward_pass.h"

namespace moai {
namespace {

constexpr uint32_t kUnknown = UINT32_MAX;

class Cutter {
 public:
  Cutter(const GraphFacts& facts, int64_t stages, uint32_t chunks)
      : facts_(facts),
        graph_(facts.graph()),
        pass_(FindForwardPass(graph_, facts.types())),
        cut_{.stages = stages, .chunks = chunks, .turn = pass_.turn} {}

  absl::StatusOr<PipelineCut> Run() {
    MOAI_RETURN_IF_ERROR(FindBoundaries());
    FindState();
    FindReaders();
    Assign();
    MoveGradients();
    Assign();
    MoveReshapes();
    for (const Input& input : graph_.inputs) {
      const uint32_t chunk = chunk_[input.value];
      const bool everywhere = shared_[input.value] && !state_[input.value];
      cut_.chunk_of_input.push_back(everywhere          ? PipelineCut::kEveryStage
                                    : chunk == kUnknown ? 0
                                                        : chunk);
    }
    return std::move(cut_);
  }

 private:
  absl::Status FindBoundaries() {
    double total = 0;
    std::vector<double> done;  // arithmetic up to and with each node
    for (uint32_t i = 0; i <= pass_.turn && i < graph_.nodes.size(); ++i) {
      total += facts_.flops(i);
      done.push_back(total);
    }
    // Places that differ in what was done before them: chunks that do no work are none.
    std::vector<double> places;
    std::vector<uint32_t> nodes;
    for (uint32_t node : pass_.narrow) {
      if (done[node] >= total || (!places.empty() && done[node] <= places.back())) continue;
      places.push_back(done[node]);
      nodes.push_back(node);
    }
    const std::vector<size_t> chosen = EvenCuts(places, total, cut_.chunks);
    if (chosen.size() + 1 < cut_.chunks) {
      return absl::InvalidArgumentError(
          absl::StrCat("the forward pass has too few narrow places for ", cut_.chunks, " chunks"));
    }
    for (size_t place : chosen) boundaries_.push_back(nodes[place]);
    return absl::OkStatus();
  }

  // State that the step replaces, and what is made of nothing else: weights in another dtype.
  void FindState() {
    std::vector<bool> replaced(graph_.slot_count, false);
    for (const Output& output : graph_.outputs) {
      if (output.kind == OutputKind::kSlot) replaced[output.index] = true;
    }
    state_.assign(graph_.values.size(), false);
    for (const Input& input : graph_.inputs) {
      state_[input.value] = input.kind == InputKind::kSlot && replaced[input.index];
    }
    for (const Node& node : graph_.nodes) {
      bool all = false;
      for (ValueId input : node.inputs) {
        if (facts_.types()[input].shape.rank() == 0) continue;
        all = state_[input];
        if (!all) break;
      }
      for (uint32_t k = 0; k < node.output_count; ++k) state_[node.first_output + k] = all;
    }
  }

  void FindReaders() {
    readers_.resize(graph_.values.size());
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      for (ValueId input : graph_.nodes[i].inputs) readers_[input].push_back(i);
    }
    moved_.assign(graph_.nodes.size(), kUnknown);
  }

  void Assign() {
    chunk_.assign(graph_.values.size(), kUnknown);
    shared_.assign(graph_.values.size(), false);
    cut_.chunk_of_node.clear();
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const uint32_t chunk = moved_[i] != kUnknown ? moved_[i]
                             : i <= pass_.turn     ? ForwardChunk(i)
                                                   : BackwardChunk(node);
      cut_.chunk_of_node.push_back(chunk);
      for (ValueId input : node.inputs) {
        if (pass_.producer[input] != UINT32_MAX) continue;
        if (chunk_[input] == kUnknown) chunk_[input] = chunk;
        if (chunk_[input] % cut_.stages != chunk % cut_.stages) shared_[input] = true;
      }
      for (uint32_t k = 0; k < node.output_count; ++k) chunk_[node.first_output + k] = chunk;
    }
  }

  // The chunk where a node that reads the value has its state; kUnknown if none has.
  uint32_t ChunkOfUpdate(ValueId value) const {
    for (uint32_t reader : readers_[value]) {
      for (ValueId input : graph_.nodes[reader].inputs) {
        if (state_[input] && pass_.producer[input] == UINT32_MAX) return chunk_[input];
      }
    }
    return kUnknown;
  }

  bool ReadIn(ValueId value, uint32_t chunk, uint32_t by_other_than) const {
    return std::any_of(readers_[value].begin(), readers_[value].end(), [&](uint32_t reader) {
      return reader != by_other_than && cut_.chunk_of_node[reader] == chunk;
    });
  }

  // A gradient is made where its parameter is, if what it is made of comes there anyway: that of a
  // bias, beside that of the weight.
  void MoveGradients() {
    for (uint32_t i = pass_.turn + 1; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const uint32_t there = ChunkOfUpdate(node.first_output);
      if (node.output_count != 1 || there == kUnknown || there >= cut_.chunk_of_node[i]) continue;
      const bool comes = std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
        return !state_[input] && pass_.producer[input] != UINT32_MAX && ReadIn(input, there, i);
      });
      if (comes) moved_[i] = there;
    }
  }

  // What is read in one other chunk alone gets its shape there: what it is made from may be read
  // there too, and need not be sent twice. With the pass: forwards to later chunks, on the way back
  // to earlier ones.
  void MoveReshapes() {
    std::vector<bool> output(graph_.values.size(), false);
    for (const Output& o : graph_.outputs) output[o.value] = true;
    for (uint32_t i = static_cast<uint32_t>(graph_.nodes.size()); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      const std::vector<uint32_t>& readers = readers_[node.first_output];
      if (node.op != Op::kReshape || output[node.first_output] || readers.empty()) continue;
      uint32_t& here = cut_.chunk_of_node[i];
      const uint32_t there = cut_.chunk_of_node[readers.front()];
      const bool alone = std::all_of(readers.begin(), readers.end(), [&](uint32_t reader) {
        return cut_.chunk_of_node[reader] == there;
      });
      if (alone && (i <= pass_.turn ? there > here : there < here)) here = there;
    }
  }

  uint32_t ForwardChunk(uint32_t node) const {
    return uint32_t(std::lower_bound(boundaries_.begin(), boundaries_.end(), node) -
                    boundaries_.begin());
  }

  uint32_t BackwardChunk(const Node& node) const {
    uint32_t chunk = kUnknown, number = kUnknown;
    for (ValueId input : node.inputs) {
      if (chunk_[input] == kUnknown || shared_[input]) continue;
      // State first: nothing is worth moving it.
      if (state_[input] && pass_.producer[input] == UINT32_MAX) return chunk_[input];
      uint32_t& to = facts_.types()[input].shape.rank() == 0 ? number : chunk;
      if (state_[input] || pass_.depends[input]) to = std::min(to, chunk_[input]);
    }
    if (chunk != kUnknown) return chunk;
    return number != kUnknown ? number : cut_.chunks - 1;
  }

  const GraphFacts& facts_;
  const Graph& graph_;
  const ForwardPass pass_;
  PipelineCut cut_;
  std::vector<uint32_t> boundaries_;  // the last node of each chunk's forward part but the last's
  std::vector<bool> state_;           // by value
  std::vector<uint32_t> chunk_;       // by value: where it is made, or first read
  std::vector<bool> shared_;          // by value: an input that several stages read
  std::vector<std::vector<uint32_t>> readers_;  // by value: nodes, ascending
  std::vector<uint32_t> moved_;  // by node: the chunk it was moved to; kUnknown: as assigned
};

}  // namespace

absl::StatusOr<PipelineCut> CutPipeline(const GraphFacts& facts, int64_t stages, uint32_t chunks) {
  return Cutter(facts, stages, chunks).Run();
}

}  // namespace moai
