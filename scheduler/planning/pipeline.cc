#include "scheduler/planning/pipeline.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/planning/forward_pass.h"

namespace moai {
namespace {

constexpr uint32_t kUnknown = UINT32_MAX;
constexpr uint32_t kSeveral = UINT32_MAX - 1;

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
    chunk_.assign(graph_.values.size(), kUnknown);
    shared_.assign(graph_.values.size(), false);
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const uint32_t chunk = i <= pass_.turn ? ForwardChunk(i) : BackwardChunk(node);
      cut_.chunk_of_node.push_back(chunk);
      for (ValueId input : node.inputs) {
        if (pass_.producer[input] != UINT32_MAX) continue;
        if (chunk_[input] == kUnknown) chunk_[input] = chunk;
        if (chunk_[input] % cut_.stages != chunk % cut_.stages) shared_[input] = true;
      }
      for (uint32_t k = 0; k < node.output_count; ++k) chunk_[node.first_output + k] = chunk;
    }
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
    size_t next = 0;
    for (uint32_t chunk = 1; chunk < cut_.chunks; ++chunk) {
      const double target = total * chunk / cut_.chunks;
      size_t best = pass_.narrow.size();
      for (size_t i = next; i < pass_.narrow.size(); ++i) {
        const auto off = [&](size_t k) { return std::abs(done[pass_.narrow[k]] - target); };
        if (best == pass_.narrow.size() || off(i) < off(best)) best = i;
      }
      // Chunks that do no work are none.
      if (best == pass_.narrow.size() ||
          (chunk > 1 && done[pass_.narrow[best]] <= done[boundaries_.back()])) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the forward pass has too few narrow places for ", cut_.chunks, " chunks"));
      }
      boundaries_.push_back(pass_.narrow[best]);
      next = best + 1;
    }
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

  // What is read in one other chunk alone gets its shape there: what it is made from may be read
  // there too, and need not be sent twice.
  void MoveReshapes() {
    std::vector<uint32_t> reader(graph_.values.size(), kUnknown);  // the one chunk, or kSeveral
    for (const Output& output : graph_.outputs) reader[output.value] = kSeveral;
    for (uint32_t i = uint32_t(graph_.nodes.size()); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      uint32_t& chunk = cut_.chunk_of_node[i];
      const uint32_t read = reader[node.first_output];
      if (node.op == Op::kReshape && read != kUnknown && read != kSeveral) chunk = read;
      for (ValueId input : node.inputs) {
        uint32_t& known = reader[input];
        known = known == kUnknown || known == chunk ? chunk : kSeveral;
      }
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
};

}  // namespace

absl::StatusOr<PipelineCut> CutPipeline(const GraphFacts& facts, int64_t stages, uint32_t chunks) {
  return Cutter(facts, stages, chunks).Run();
}

}  // namespace moai
