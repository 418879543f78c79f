// What one block for many predicts is what the whole graph predicts.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "client/models/catalog.h"
#include "graph/infer.h"
#include "scheduler/cost/gpu_types.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/search.h"
#include "scheduler/planning/stated_plan.h"

namespace moai {
namespace {

struct Model {
  Model(const models::ModelConfig& config, int64_t batch, int64_t devices, bool whole_graph = false,
        int64_t memory_bytes = int64_t{80} << 30)
      : step(*models::CaptureModel("model", config, batch)),
        types(*InferGraph(*step.graph, step.sizes)),
        cluster(ClusterOf(**FindGpuType("H100"), (devices + 7) / 8, 8)),
        request{.graph = step.graph.get(),
                .sizes = step.sizes,
                .types = types,
                .cluster = &cluster,
                .devices = devices,
                .memory_bytes = memory_bytes,
                .whole_graph = whole_graph,
                .most_stages = 16},
        space(*SearchSpace::Make(request)) {}

  CapturedStep step;
  std::vector<TensorType> types;
  Cluster cluster;
  SearchRequest request;
  SearchSpace space;
};

std::string ToString(const StatedPlan& p) {
  return "data " + std::to_string(p.data) + " model " + std::to_string(p.model) + " stages " +
         std::to_string(p.stages) + "x" + std::to_string(p.virtual_stages) + " micro " +
         std::to_string(p.micro_batches) + " state " + std::to_string(int(p.state)) + " " +
         std::string(Name(p.recompute));
}

void Compare(const Model& model, StatedPlan plan, double time_error, double memory_error) {
  SCOPED_TRACE(ToString(plan));
  const auto candidates = CandidatesFor(model.space.facts(plan.recompute), plan);
  ASSERT_TRUE(candidates.ok()) << candidates.status();
  const Candidate& candidate = candidates->front();
  const absl::StatusOr<StepCost> whole = model.space.EvaluateCandidate(candidate);
  const absl::StatusOr<StepCost> few = model.space.EstimateCandidate(candidate);
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_TRUE(few.ok()) << few.status();
  EXPECT_NEAR(few->seconds, whole->seconds, time_error * whole->seconds);
  EXPECT_NEAR(double(few->total_bytes()), double(whole->total_bytes()),
              memory_error * double(whole->total_bytes()));
  EXPECT_NEAR(few->flops, whole->flops, 1e-6 * whole->flops);
}

models::LlamaConfig Llama(int64_t layers) {
  return {.vocabulary = 8192,
          .hidden = 1024,
          .ffn = 2816,
          .layers = layers,
          .heads = 16,
          .kv_heads = 8,
          .sequence = 1024};
}

TEST(Estimates, OfOneStageAreThoseOfTheWhole) {
  for (int64_t layers : {8, 13}) {
    const Model model(Llama(layers), 64, 64);
    for (const RecomputeMode recompute :
         {RecomputeMode::kNone, RecomputeMode::kSelective, RecomputeMode::kFull}) {
      for (const StateSharding state :
           {StateSharding::kNone, StateSharding::kOptimizer, StateSharding::kParameters}) {
        for (int64_t micro_batches : {1, 4}) {
          for (int64_t tensor : {1, 4}) {
            Compare(model,
                    {.data = 16 / tensor,
                     .model = tensor,
                     .micro_batches = micro_batches,
                     .state = state,
                     .recompute = recompute},
                    0.02, 0.04);
          }
        }
      }
    }
  }
}

TEST(Estimates, OfPipelinesAreNearThoseOfTheWhole) {
  for (int64_t layers : {8, 13}) {
    const Model model(Llama(layers), 64, 64);
    for (const RecomputeMode recompute : {RecomputeMode::kNone, RecomputeMode::kFull}) {
      for (const StateSharding state : {StateSharding::kNone, StateSharding::kParameters}) {
        for (int64_t stages : {2, 4}) {
          for (int64_t chunks : {1, 2}) {
            // Chunks of one block each are cut within blocks, which an estimate does not see.
            const bool coarse = recompute == RecomputeMode::kFull && layers == stages * chunks;
            Compare(model,
                    {.data = 2,
                     .model = 2,
                     .stages = stages,
                     .virtual_stages = chunks,
                     .micro_batches = 8,
                     .state = state,
                     .recompute = recompute},
                    chunks == 1 ? 0.02 : 0.04, coarse ? 0.15 : 0.04);
          }
        }
      }
    }
  }
}

// The best plan by estimates is the best by the whole graph, or as good.
TEST(Estimates, ChooseWhatTheWholeGraphChooses) {
  for (const int64_t memory : {int64_t{80} << 30, int64_t{3} << 30, int64_t{1} << 30}) {
    SCOPED_TRACE(memory);
    const Model few(Llama(10), 64, 16, /*whole_graph=*/false, memory);
    const Model all(Llama(10), 64, 16, /*whole_graph=*/true, memory);
    const absl::StatusOr<SearchResult> estimated = few.space.Search();
    const absl::StatusOr<SearchResult> exact = all.space.Search();
    ASSERT_TRUE(estimated.ok() && exact.ok());
    EXPECT_EQ(estimated->feasible > 0, exact->feasible > 0);
    const StepCost &mine = estimated->candidates[0].cost, &best = exact->candidates[0].cost;
    EXPECT_LE(mine.seconds, 1.01 * best.seconds)
        << few.space.Describe(estimated->candidates[0].candidate) << " for "
        << all.space.Describe(exact->candidates[0].candidate);
    // What is reported of it is what the whole graph costs.
    const StepCost whole = *few.space.EvaluateCandidate(estimated->candidates[0].candidate);
    EXPECT_EQ(whole.seconds, mine.seconds);
    EXPECT_EQ(whole.total_bytes(), mine.total_bytes());
    // As much of the space is looked at, but for plans that are close to each other.
    EXPECT_GE(double(estimated->evaluated), 0.8 * double(exact->evaluated));
  }
}

// What is computed again is computed in the backward pass of its stage, not kept from the forward
// pass.
TEST(Estimates, RecomputationSavesMemoryInPipelines) {
  const Model model(Llama(8), 64, 64);
  const auto memory = [&](RecomputeMode recompute) {
    const StatedPlan plan{
        .data = 2, .model = 2, .stages = 4, .micro_batches = 8, .recompute = recompute};
    const Candidate candidate = CandidatesFor(model.space.facts(recompute), plan)->front();
    return double(model.space.EvaluateCandidate(candidate)->temporaries);
  };
  EXPECT_LT(memory(RecomputeMode::kFull), 0.6 * memory(RecomputeMode::kNone));
}

}  // namespace
}  // namespace moai
