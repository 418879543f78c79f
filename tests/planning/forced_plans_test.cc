// One stated plan for each kind of parallelism, on models small enough for the interpreter: loss,
// gradients and updates are those of one device, dropout included.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/models/catalog.h"
#include "graph/infer.h"
#include "scheduler/cost/topology.h"
#include "scheduler/partition/testing/run_on_devices.h"
#include "scheduler/planning/search.h"
#include "tests/planning/step_bindings.h"

namespace moai {
namespace {

constexpr double kTolerance = 1e-9;

// Extents that are told apart: batch 4, sequence 6, 2 key heads, ffn 24, vocabulary 22.
models::LlamaConfig SmallLlama(int64_t layers = 2) {
  return {.vocabulary = 22,
          .hidden = 16,
          .ffn = 24,
          .layers = layers,
          .heads = 4,
          .kv_heads = 2,
          .sequence = 6,
          .dropout = 0.2};
}
constexpr int64_t kBatch = 4, kHeads = 2, kFfn = 24, kVocabulary = 22, kSequence = 6;

struct Plan {
  std::string name;
  int64_t data = 1;
  int64_t model = 1;
  int64_t micro_batches = 1;
  StateSharding state = StateSharding::kNone;
  RecomputeMode recompute = RecomputeMode::kNone;
  std::vector<int64_t> data_roles = {kBatch};  // extents
  std::vector<int64_t> model_roles = {};
  int64_t stages = 1;
  int64_t virtual_stages = 1;
};

class Model {
 public:
  explicit Model(const models::ModelConfig& config, int64_t batch, int64_t ids)
      : step_(*models::CaptureModel("small", config, batch, {.autocast = std::nullopt})),
        types_(*InferGraph(*step_.graph, step_.sizes)),
        bindings_(StepBindings(step_, ids, 7)),
        expected_(*Interpret(*step_.graph, step_.sizes, bindings_)) {
    SearchRequest request{.graph = step_.graph.get(),
                          .sizes = step_.sizes,
                          .types = types_,
                          .cluster = &cluster_,
                          .memory_bytes = int64_t{1} << 40};
    space_ = *SearchSpace::Make(request);
  }

  std::map<std::string, int> Check(const Plan& plan) {
    SCOPED_TRACE(plan.name);
    Candidate candidate;
    candidate.micro_batches = plan.micro_batches;
    candidate.recompute = plan.recompute;
    candidate.time_roles = Roles(plan.recompute, plan.data_roles);
    if (plan.data > 1) {
      candidate.axes.push_back({.extent = plan.data,
                                .roles = Roles(plan.recompute, plan.data_roles),
                                .state = plan.state});
      candidate.axis_names.push_back("data");
    }
    if (plan.model > 1) {
      candidate.axes.push_back(
          {.extent = plan.model, .roles = Roles(plan.recompute, plan.model_roles)});
      candidate.axis_names.push_back("model");
    }
    candidate.stages = plan.stages;
    candidate.virtual_stages = plan.virtual_stages;
    const absl::StatusOr<PartitionRequest> request = space_.RequestFor(candidate, /*sample=*/false);
    EXPECT_TRUE(request.ok()) << request.status();
    if (!request.ok()) return {};
    const absl::StatusOr<DevicesResult> run = RunOnDevices(*request, bindings_, kTolerance);
    EXPECT_TRUE(run.ok()) << run.status();
    if (!run.ok()) return {};
    std::string line = plan.name + ":";
    for (const auto& [op, count] : run->collectives) absl::StrAppend(&line, " ", op, " ", count);
    std::printf("%s\n", line.c_str());
    EXPECT_EQ(run->outputs.size(), expected_.size());
    for (size_t i = 0; i < expected_.size(); ++i) {
      EXPECT_EQ(run->outputs[i].integers, expected_[i].integers);
      for (size_t k = 0; k < expected_[i].floats.size(); ++k) {
        const double want = expected_[i].floats[k];
        EXPECT_NEAR(run->outputs[i].floats[k], want, kTolerance * (1 + std::abs(want)))
            << "output " << i << " element " << k;
        if (testing::Test::HasFailure()) return run->collectives;
      }
    }
    return run->collectives;
  }

 private:
  // The role of most arithmetic with each extent.
  std::vector<RoleId> Roles(RecomputeMode mode, const std::vector<int64_t>& extents) const {
    const GraphFacts& facts = space_.facts(mode);
    std::vector<RoleId> roles;
    for (int64_t extent : extents) {
      RoleId best = 0;
      double most = -1;
      for (RoleId role = 0; role < facts.roles().size(); ++role) {
        if (facts.roles()[role].extent != extent || facts.roles()[role].flops <= most) continue;
        best = role;
        most = facts.roles()[role].flops;
      }
      EXPECT_GE(most, 0) << "no role of extent " << extent;
      roles.push_back(best);
    }
    return roles;
  }

  CapturedStep step_;
  std::vector<TensorType> types_;
  std::vector<ReferenceTensor> bindings_;
  std::vector<ReferenceTensor> expected_;
  Cluster cluster_;
  SearchSpace space_;
};

class LlamaPlans : public testing::Test {
 protected:
  Model model_{SmallLlama(), kBatch, kVocabulary};
};

TEST_F(LlamaPlans, OneDevice) {
  EXPECT_TRUE(model_.Check({.name = "one device"}).empty());
  EXPECT_TRUE(model_.Check({.name = "two micro-batches", .micro_batches = 2}).empty());
  EXPECT_TRUE(model_.Check({.name = "four micro-batches", .micro_batches = 4}).empty());
}

TEST_F(LlamaPlans, Data) {
  EXPECT_GT(model_.Check({.name = "data 2", .data = 2})["all_reduce"], 0);
  model_.Check({.name = "data 3, uneven", .data = 3});
  model_.Check({.name = "data 4", .data = 4});
  model_.Check({.name = "data 8, more than samples", .data = 8});
  model_.Check({.name = "data 2, two micro-batches", .data = 2, .micro_batches = 2});
}

TEST_F(LlamaPlans, StateSharding) {
  auto one = model_.Check({.name = "ZeRO-1", .data = 2, .state = StateSharding::kOptimizer});
  EXPECT_GT(one["reduce_scatter"], 0);
  EXPECT_GT(one["all_gather"], 0);
  auto three = model_.Check({.name = "ZeRO-3", .data = 2, .state = StateSharding::kParameters});
  EXPECT_GT(three["reduce_scatter"], 0);
  EXPECT_GT(three["all_gather"], 0);
  const auto with_micro_batches = [&](const char* name, StateSharding state) {
    return model_.Check({.name = name, .data = 2, .micro_batches = 2, .state = state});
  };
  one = with_micro_batches("ZeRO-1, two micro-batches", StateSharding::kOptimizer);
  auto two = with_micro_batches("ZeRO-2, two micro-batches", StateSharding::kGradients);
  // Each micro-batch's gradients are scattered, instead of their sums.
  EXPECT_EQ(two["reduce_scatter"], 2 * one["reduce_scatter"]);
  EXPECT_EQ(two["all_gather"], one["all_gather"]);
  const int gathers = three["all_gather"];
  three = with_micro_batches("ZeRO-3, two micro-batches", StateSharding::kParameters);
  EXPECT_GE(three["reduce_scatter"], two["reduce_scatter"]);
  // Parameters are gathered for each.
  EXPECT_GT(three["all_gather"], 3 * gathers / 2);
}

TEST_F(LlamaPlans, Tensor) {
  auto tensor =
      model_.Check({.name = "tensor 2", .model = 2, .model_roles = {kHeads, kFfn, kVocabulary}});
  EXPECT_GT(tensor["all_reduce"], 0);
  auto sequence = model_.Check({.name = "tensor and sequence 2",
                                .model = 2,
                                .model_roles = {kHeads, kFfn, kVocabulary, kBatch}});
  EXPECT_GT(sequence["reduce_scatter"], 0);
  EXPECT_GT(sequence["all_gather"], 0);
  auto ulysses =
      model_.Check({.name = "Ulysses 2", .model = 2, .model_roles = {kSequence, kHeads}});
  EXPECT_GT(ulysses["all_to_all"], 0);
}

TEST_F(LlamaPlans, Recomputation) {
  model_.Check({.name = "selective", .recompute = RecomputeMode::kSelective});
  model_.Check({.name = "full", .recompute = RecomputeMode::kFull});
  model_.Check({.name = "full, data 2, two micro-batches",
                .data = 2,
                .micro_batches = 2,
                .recompute = RecomputeMode::kFull});
}

TEST_F(LlamaPlans, Pipeline) {
  auto two = model_.Check({.name = "2 stages", .stages = 2});
  EXPECT_GT(two["send"] + two["recv"], 0);
  model_.Check({.name = "2 stages, four micro-batches", .micro_batches = 4, .stages = 2});
  model_.Check({.name = "2 stages, full recomputation, two micro-batches",
                .micro_batches = 2,
                .recompute = RecomputeMode::kFull,
                .stages = 2});
  model_.Check({.name = "2 stages, data 2, tensor 2, ZeRO-1, two micro-batches",
                .data = 2,
                .model = 2,
                .micro_batches = 2,
                .state = StateSharding::kOptimizer,
                .model_roles = {kHeads, kFfn, kVocabulary},
                .stages = 2});
}

TEST(DeepLlamaPlans, InterleavedPipeline) {
  Model model(SmallLlama(/*layers=*/4), kBatch, kVocabulary);
  model.Check({.name = "2 stages, 2 chunks each, four micro-batches",
               .micro_batches = 4,
               .stages = 2,
               .virtual_stages = 2});
  model.Check({.name = "4 stages, four micro-batches", .micro_batches = 4, .stages = 4});
}

TEST_F(LlamaPlans, Combined) {
  model_.Check({.name = "data 2, tensor 2, ZeRO-1, two micro-batches, full",
                .data = 2,
                .model = 2,
                .micro_batches = 2,
                .state = StateSharding::kOptimizer,
                .recompute = RecomputeMode::kFull,
                .model_roles = {kHeads, kFfn, kVocabulary}});
  model_.Check({.name = "data 2, tensor and sequence 2, ZeRO-3",
                .data = 2,
                .model = 2,
                .state = StateSharding::kParameters,
                .model_roles = {kHeads, kFfn, kVocabulary, kBatch}});
}

}  // namespace
}  // namespace moai
