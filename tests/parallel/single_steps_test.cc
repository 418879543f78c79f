// Training on several devices, as the planner splits it by itself, beside one device.
#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/parallel/training_run.h"

namespace moai {
namespace {

struct ClusterShape {
  int workers = 1;
  int devices = 1;  // of each
};

absl::StatusOr<std::unique_ptr<Cluster>> Start(const ClusterShape& shape) {
  return Cluster::Start({.workers = shape.workers,
                         .devices = shape.devices,
                         .devices_per_session = shape.workers * shape.devices});
}

// Each test starts two clusters.
class PlannedTrainingTest : public ::testing::TestWithParam<std::tuple<SmallModel, ClusterShape>> {
 protected:
  void SetUp() override {
    auto one = Start({1, 1});
    ASSERT_TRUE(one.ok()) << one.status();
    one_ = *std::move(one);
    auto several = Start(std::get<1>(GetParam()));
    ASSERT_TRUE(several.ok()) << several.status();
    several_ = *std::move(several);
  }
  void TearDown() override {
    if (HasFailure() && several_ != nullptr) fprintf(stderr, "%s", several_->Log().c_str());
  }

  SmallModel model() const { return std::get<0>(GetParam()); }

  void ExpectSingleStepsAgree(int64_t batch, int steps) {
    SCOPED_TRACE(absl::StrCat("batch ", batch));
    const TrainingRun run = {.model = model(), .batch = batch, .steps = steps};
    const auto want = TrainSteps(*one_, run);
    ASSERT_TRUE(want.ok()) << want.status();
    const auto got = TrainSteps(*several_, run, &*want);
    ASSERT_TRUE(got.ok()) << got.status();
    const absl::Status agree = Agree(*got, *want);
    EXPECT_TRUE(agree.ok()) << agree;
  }

  std::unique_ptr<Cluster> one_, several_;
};

class SingleStepsTest : public PlannedTrainingTest {};
TEST_P(SingleStepsTest, Agree) { ExpectSingleStepsAgree(/*batch=*/8, /*steps=*/2); }

class OddBatchesTest : public PlannedTrainingTest {};
TEST_P(OddBatchesTest, ThatDoNotDivide) { ExpectSingleStepsAgree(/*batch=*/13, /*steps=*/2); }

// Most devices have nothing of the batch.
TEST_P(OddBatchesTest, SmallerThanTheDevices) { ExpectSingleStepsAgree(/*batch=*/3, /*steps=*/2); }

class FreeRunsTest : public PlannedTrainingTest {};
TEST_P(FreeRunsTest, StayTogether) {
  const TrainingRun run = {.model = model(), .batch = 8, .steps = 50};
  const auto want = TrainFreely(*one_, run);
  ASSERT_TRUE(want.ok()) << want.status();
  const auto got = TrainFreely(*several_, run);
  ASSERT_TRUE(got.ok()) << got.status();
  for (size_t step = 0; step < want->size(); ++step) {
    EXPECT_LE(std::abs((*got)[step] - (*want)[step]), 0.01 * (*want)[step]) << "step " << step;
  }
  EXPECT_NE(want->front(), want->back());
}

const auto kModels =
    ::testing::Values(SmallModel::kLlama, SmallModel::kResnet, SmallModel::kMixtral);

std::string CaseName(const ::testing::TestParamInfo<std::tuple<SmallModel, ClusterShape>>& info) {
  const ClusterShape& shape = std::get<1>(info.param);
  return absl::StrCat(Name(std::get<0>(info.param)), "On", shape.workers, "x", shape.devices);
}

INSTANTIATE_TEST_SUITE_P(Models, SingleStepsTest,
                         ::testing::Combine(kModels, ::testing::Values(ClusterShape{1, 2},
                                                                       ClusterShape{2, 2},
                                                                       ClusterShape{4, 2})),
                         CaseName);
INSTANTIATE_TEST_SUITE_P(Models, OddBatchesTest,
                         ::testing::Combine(kModels, ::testing::Values(ClusterShape{4, 2})),
                         CaseName);
INSTANTIATE_TEST_SUITE_P(Models, FreeRunsTest,
                         ::testing::Combine(kModels, ::testing::Values(ClusterShape{2, 2})),
                         CaseName);

}  // namespace
}  // namespace moai
