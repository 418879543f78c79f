#include "scheduler/partition/pipeline_order.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace moai {

absl::StatusOr<std::vector<std::vector<uint32_t>>> LegsOf(const Graph& graph,
                                                          const PipelineCut& cut,
                                                          absl::Span<const uint32_t> nodes) {
  std::vector<std::vector<uint32_t>> legs(2 * size_t(cut.chunks));
  std::vector<uint32_t> leg_of(graph.values.size(), 0);
  for (uint32_t node : nodes) {
    const Node& n = graph.nodes[node];
    uint32_t earliest = 0;
    for (ValueId input : n.inputs) earliest = std::max(earliest, leg_of[input]);
    const uint32_t forward = cut.chunk_of_node[node];
    const uint32_t backward = 2 * cut.chunks - 1 - forward;
    if (backward < earliest) {
      return absl::InternalError(absl::StrCat("node ", node, " (", Name(n.op), ") of chunk ",
                                              forward, " needs what leg ", earliest,
                                              " makes, after its chunk is left"));
    }
    const uint32_t leg = forward >= earliest && node <= cut.turn ? forward : backward;
    legs[leg].push_back(node);
    for (uint32_t k = 0; k < n.output_count; ++k) leg_of[n.first_output + k] = leg;
  }
  return legs;
}

int64_t MicroBatchesInFlight(int64_t stages, int64_t chunks, int64_t stage) {
  const int64_t virtual_stages = chunks / stages;
  if (virtual_stages <= 1) return stages - stage;
  // Warm-up of the interleaved schedule, counted in chunks.
  return 2 * (stages - stage - 1) + (virtual_stages - 1) * stages + 1;
}

namespace {

// A stage is busy until `free_at`; items run as soon as their turn and their inputs have come.
class Schedule {
 public:
  Schedule(const PipelineCut& cut, const std::vector<std::vector<uint32_t>>& legs,
           int64_t micro_batches)
      : cut_(cut), micro_batches_(micro_batches) {
    for (uint32_t leg = 0; leg < legs.size(); ++leg) {
      if (!legs[leg].empty()) used_.push_back(leg);
    }
    has_backward_ = !used_.empty() && used_.back() >= cut.chunks;
  }

  std::vector<PipelineItem> Run() {
    const size_t stages = size_t(cut_.stages);
    std::vector<int64_t> free_at(stages, 0), in_flight(stages, 0);
    // By position in used_, then micro-batch: when it was done; -1: not yet.
    std::vector<std::vector<int64_t>> done(used_.size(),
                                           std::vector<int64_t>(size_t(micro_batches_), -1));
    std::vector<PipelineItem> order;
    const size_t all = used_.size() * size_t(micro_batches_);
    for (int64_t now = 0; order.size() < all; ++now) {
      bool idle = true;  // nothing runs and nothing could begin
      for (size_t stage = 0; stage < stages; ++stage) {
        if (free_at[stage] > now) {
          idle = false;
          continue;
        }
        const int64_t limit = MicroBatchesInFlight(cut_.stages, cut_.chunks, int64_t(stage));
        const auto [position, micro_batch] =
            Pick(stage, now, done, has_backward_ && in_flight[stage] >= limit);
        if (micro_batch < 0) continue;
        idle = false;
        const bool forward = used_[position] < cut_.chunks;
        in_flight[stage] += forward ? 1 : -1;
        free_at[stage] = now + (forward ? 1 : 2);
        done[position][size_t(micro_batch)] = free_at[stage];
        order.push_back({used_[position], micro_batch});
      }
      if (idle) relaxed_ = true;  // a limit that starves everybody does not count
    }
    return order;
  }

 private:
  uint32_t StageOf(uint32_t leg) const {
    const uint32_t chunk = leg < cut_.chunks ? leg : 2 * cut_.chunks - 1 - leg;
    return chunk % uint32_t(cut_.stages);
  }

  // The next item of the stage: backward before forward; micro-batch -1 where there is none.
  std::pair<size_t, int64_t> Pick(size_t stage, int64_t now,
                                  const std::vector<std::vector<int64_t>>& done, bool full) const {
    std::pair<size_t, int64_t> best{0, -1};
    std::tuple<int, int64_t, int64_t, int64_t> best_key;
    for (size_t position = 0; position < used_.size(); ++position) {
      const uint32_t leg = used_[position];
      if (StageOf(leg) != stage) continue;
      const bool forward = leg < cut_.chunks;
      if (forward && full && !relaxed_) continue;
      for (int64_t i = 0; i < micro_batches_; ++i) {
        if (done[position][size_t(i)] >= 0) continue;
        const int64_t before = position == 0 ? 0 : done[position - 1][size_t(i)];
        if (before < 0 || before > now) break;
        // Chunks of a stage take turns by groups of as many micro-batches as there are stages.
        const std::tuple key(forward ? 1 : 0, i / cut_.stages, int64_t(leg), i);
        if (best.second < 0 || key < best_key) {
          best = {position, i};
          best_key = key;
        }
        break;
      }
    }
    return best;
  }

  const PipelineCut& cut_;
  const int64_t micro_batches_;
  std::vector<uint32_t> used_;  // legs that have nodes
  bool has_backward_ = false;
  bool relaxed_ = false;
};

}  // namespace

std::vector<PipelineItem> OrderPipeline(const PipelineCut& cut,
                                        const std::vector<std::vector<uint32_t>>& legs,
                                        int64_t micro_batches) {
  return Schedule(cut, legs, micro_batches).Run();
}

}  // namespace moai
