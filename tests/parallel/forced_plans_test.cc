// Each kind of parallelism for real: a stated plan on 8 devices in 4 workers gives the steps of one
// device.
#include <iostream>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/end_to_end/step_accounts.h"
#include "tests/parallel/training_run.h"

namespace moai {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;

struct Case {
  std::string name;
  std::string plan;
  std::vector<std::string> chosen;  // parts of what the server says that it chose
  int64_t batch = 16;
  SmallModel model = SmallModel::kLlama;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.plan; }

// Kinds of collectives that cannot be missing.
std::vector<std::string> Sends(const std::string& name) {
  static const auto* kinds = new std::map<std::string, std::vector<std::string>>{
      {"Data", {"all_reduce"}},
      {"Tensor", {"all_reduce"}},
      {"Sequence", {"reduce_scatter", "all_gather"}},
      {"Context", {"all_to_all"}},
      {"OptimizerState", {"reduce_scatter", "all_gather"}},
      {"ShardedGradients", {"reduce_scatter", "all_gather"}},
      {"ShardedParameters", {"reduce_scatter", "all_gather"}},
      {"Pipeline", {"send", "recv"}},
      {"InterleavedPipeline", {"send", "recv"}},
      {"PipelineOfEverything", {"send", "recv", "reduce_scatter", "all_gather"}},
      {"Everything", {"reduce_scatter", "all_gather"}}};
  const auto found = kinds->find(name);
  return found == kinds->end() ? std::vector<std::string>() : found->second;
}

class ForcedPlansTest : public ::testing::TestWithParam<Case> {
 protected:
  // What one device gives, once for all plans.
  static const absl::StatusOr<std::vector<StepResult>>& OneDevice(const TrainingRun& run) {
    static std::map<std::pair<SmallModel, int64_t>, absl::StatusOr<std::vector<StepResult>>> known;
    const std::pair key(run.model, run.batch);
    const auto found = known.find(key);
    if (found != known.end()) return found->second;
    const auto cluster = Cluster::Start();
    auto steps = cluster.ok() ? TrainSteps(**cluster, run) : cluster.status();
    return known.emplace(key, std::move(steps)).first->second;
  }
};

TEST_P(ForcedPlansTest, AgreesWithOneDevice) {
  const TrainingRun run = {.model = GetParam().model, .batch = GetParam().batch, .steps = 3};
  const auto& want = OneDevice(run);
  ASSERT_TRUE(want.ok()) << want.status();
  auto cluster = Cluster::Start(
      {.workers = 4,
       .devices = 2,
       .devices_per_session = 8,
       .server_flags = {absl::StrCat("--force_plan=", GetParam().plan), "--log_level=debug"},
       .worker_flags = {"--log_level=debug"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto got = TrainSteps(**cluster, run, &*want);
  ASSERT_TRUE(got.ok()) << got.status() << "\n" << (*cluster)->Log();
  const absl::Status agree = Agree(*got, *want);
  EXPECT_TRUE(agree.ok()) << agree << "\n" << (*cluster)->Log();
  // Of the training step; the graphs that make and restore state are not worth a plan.
  const std::string log = (*cluster)->Log();
  for (const std::string& part : GetParam().chosen) EXPECT_THAT(log, HasSubstr(part));
  // Memory, collectives and their bytes are what was predicted from the devices' graphs.
  const absl::StatusOr<CountedSteps> counted = CompareWithPlan(log);
  ASSERT_TRUE(counted.ok()) << counted.status();
  std::cout << GetParam().name << ": " << counted->executions << " executions";
  for (const auto& [kind, calls] : counted->calls) {
    std::cout << ", " << kind << " " << calls << " times " << counted->bytes.at(kind) << " bytes";
  }
  std::cout << std::endl;
  for (const std::string& kind : Sends(GetParam().name)) {
    EXPECT_THAT(counted->calls, Contains(Key(kind)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Plans, ForcedPlansTest,
    ::testing::Values(
        Case{"Data", "data=8,model=1,micro_batches=1,state=0,recompute=0", {"data=8 ("}},
        Case{"Tensor",
             "data=1,model=8,micro_batches=1,state=0,recompute=0,sequence=0",
             {"model=8 ("}},
        Case{"Sequence",
             "data=4,model=2,micro_batches=1,state=0,recompute=0,sequence=1",
             {"data=4 (", "model=2 ("}},
        Case{"Context",
             "data=2,model=4,micro_batches=1,state=0,recompute=0,sequence=2",
             {"data=2 (", "model=4 ("}},
        Case{"Experts",
             "data=2,model=4,micro_batches=1,state=0,recompute=0,experts=1",
             {"data=2 (", "model=4 (matmul 4"},
             16,
             SmallModel::kMixtral},
        Case{"OptimizerState", "data=8,model=1,state=1", {"data=8 (", "state sharding 1"}},
        Case{"ShardedGradients",
             "data=4,model=2,micro_batches=2,state=2,recompute=0,sequence=0",
             {"data=4 (", "state sharding 2", "micro-batches 2"}},
        Case{"ShardedParameters", "data=8,model=1,state=3", {"data=8 (", "state sharding 3"}},
        Case{"MicroBatches",
             "data=4,model=2,micro_batches=2,state=0,recompute=0,sequence=0",
             {"micro-batches 2"}},
        Case{"SelectiveRecomputation",
             "data=8,model=1,state=0,micro_batches=1,recompute=1",
             {"recomputation selective"}},
        Case{"FullRecomputation",
             "data=8,model=1,state=0,micro_batches=1,recompute=2",
             {"recomputation full"}},
        Case{"DataAndTensor",
             "data=2,model=4,micro_batches=1,state=0,recompute=0,sequence=0",
             {"data=2 (", "model=4 ("}},
        Case{"Pipeline",
             "stages=2,data=4,model=1,micro_batches=2,virtual_stages=1,state=0,recompute=0",
             {"stages=2 of 1 chunks", "data=4 (", "micro-batches 2"}},
        Case{"InterleavedPipeline",
             "stages=2,data=2,model=2,micro_batches=4,virtual_stages=2,state=0,recompute=0",
             {"stages=2 of 2 chunks", "data=2 (", "model=2 (", "micro-batches 4"}},
        Case{"PipelineOfEverything",
             "stages=2,data=2,model=2,micro_batches=2,virtual_stages=1,state=3,recompute=2",
             {"stages=2 of 1 chunks", "state sharding 3", "recomputation full"}},
        Case{
            "Everything",
            "data=4,model=2,micro_batches=2,state=3,recompute=2,sequence=1",
            {"data=4 (", "model=2 (", "state sharding 3", "micro-batches 2", "recomputation full"}},
        Case{"UnevenEverything",
             "data=4,model=2,state=1,recompute=1",
             {"data=4 (", "model=2 (", "state sharding 1", "recomputation selective"},
             13}),
    [](const auto& info) { return info.param.name; });

TEST(ForcedPlansRefusalTest, APlanThatDoesNotExistIsRefused) {
  auto cluster = Cluster::Start({.workers = 1,
                                 .devices = 2,
                                 .devices_per_session = 2,
                                 .server_flags = {"--force_plan=data=3"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto steps = TrainSteps(**cluster, {.steps = 1});
  EXPECT_THAT(steps.status().message(), HasSubstr("satisfies the constraints"));
  EXPECT_THAT(Cluster::Start({.server_flags = {"--force_plan=pipeline=2"}}).status().message(),
              HasSubstr("\"pipeline\" is nothing that a plan can be forced to"));
}

}  // namespace
}  // namespace moai
