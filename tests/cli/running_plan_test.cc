// moai-plan --running with a real server, workers and a program that trains.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "nlohmann/json.hpp"
#include "tests/cli/run_command.h"
#include "tests/end_to_end/cluster.h"

namespace moai {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr int64_t kBatch = 8, kSequence = 16, kVocabulary = 64;

std::unique_ptr<Cluster> StartCluster(std::vector<std::string> server_flags = {}) {
  auto cluster = Cluster::Start(
      {.workers = 2, .devices_per_session = 2, .server_flags = std::move(server_flags)});
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  return cluster.ok() ? *std::move(cluster) : nullptr;
}

CommandResult Plan(const Cluster& cluster, const std::string& arguments = "") {
  return RunCommand("moai-plan --running " + arguments, {{"MOAI_SERVER", cluster.address()}}, "");
}

class Training {
 public:
  explicit Training(const Cluster& cluster)
      : accelerator_(*Accelerator::Connect({.server = cluster.address(), .log = false})),
        model_({.vocabulary = kVocabulary,
                .hidden = 64,
                .ffn = 96,
                .layers = 2,
                .heads = 4,
                .kv_heads = 2,
                .sequence = kSequence}),
        optimizer_(model_.NamedParameters(), {.learning_rate = 1e-3}) {}

  absl::Status Step() {
    const Shape shape = {kBatch, kSequence};
    const std::vector<int32_t> ids(size_t(shape.elements()), 3);
    const Tensor loss = model_.Loss(Tensor::FromData(ids, shape), Tensor::FromData(ids, shape));
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer_.Step({.release_gradients = true}));
    return loss.Item().status();
  }

  int64_t parameters() const {
    int64_t elements = 0;
    for (const nn::NamedTensor& entry : model_.NamedParameters()) {
      elements += entry.tensor.elements();
    }
    return elements;
  }

 private:
  const Accelerator accelerator_;
  models::Llama model_;
  optim::AdamW optimizer_;
};

TEST(RunningPlanTest, SaysWhereNothingRuns) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  const CommandResult result = Plan(*cluster);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, HasSubstr("no program runs on virtual device 0"));
}

TEST(RunningPlanTest, ReportsWhatTheProgramRunsBy) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  Training training(*cluster);
  for (int step = 0; step < 3; ++step) ASSERT_EQ(training.Step(), absl::OkStatus());

  const CommandResult as_json = Plan(*cluster, "--json");
  ASSERT_EQ(as_json.exit_code, 0) << as_json;
  const json report = json::parse(as_json.output);
  EXPECT_EQ(report["devices"], 2);
  EXPECT_EQ(report["samples"], kBatch);
  EXPECT_EQ(report["tokens"], kBatch * kSequence);
  EXPECT_EQ(report["parameters"], training.parameters());
  const json& chosen = report["chosen"];
  EXPECT_EQ(chosen["fits"], true);
  EXPECT_EQ(
      chosen["data"].get<int>() * chosen["model"].get<int>() * chosen["num_stages"].get<int>(), 2);
  EXPECT_GT(chosen["memory_bytes"]["parameters"], 0);
  // Two moments of each parameter that a device has, and a counter or so.
  EXPECT_NEAR(chosen["memory_bytes"]["optimizer"].get<double>(),
              2 * chosen["memory_bytes"]["parameters"].get<double>(), 64);

  const CommandResult as_text = Plan(*cluster);
  EXPECT_EQ(as_text.exit_code, 0);
  EXPECT_THAT(as_text.output, HasSubstr("job 1, "));
  EXPECT_THAT(as_text.output, HasSubstr("runs by\n  " + chosen["description"].get<std::string>()));
  EXPECT_THAT(as_text.output, HasSubstr("memory of a device: "));
  EXPECT_EQ(training.Step(), absl::OkStatus());
}

// Under what the server forces, the report is of that plan.
TEST(RunningPlanTest, KeepsToWhatIsForced) {
  const auto cluster = StartCluster({"--force_plan=data=2,micro_batches=2,state=1"});
  ASSERT_NE(cluster, nullptr);
  Training training(*cluster);
  for (int step = 0; step < 2; ++step) ASSERT_EQ(training.Step(), absl::OkStatus());
  const json report = json::parse(Plan(*cluster, "--json").output);
  EXPECT_EQ(report["chosen"]["data"], 2);
  EXPECT_EQ(report["chosen"]["num_micro_batches"], 2);
  EXPECT_EQ(report["chosen"]["state_sharding"], 1);
}

TEST(RunningPlanTest, TakesNoModelBesides) {
  const CommandResult result =
      RunCommand("moai-plan gpt2 --running", {{"MOAI_SERVER", "unix:/nowhere"}}, "");
  EXPECT_EQ(result.exit_code, 2);
}

}  // namespace
}  // namespace moai
