// What moai-plan says of a tiny model: texts to the letter for a report that is written by hand,
// and what must hold between the figures of one that is planned.
#include <fstream>
#include <iterator>
#include <string>

#include "client/models/catalog.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "scheduler/cost/gpu_types.h"
#include "scheduler/report/print.h"
#include "scheduler/report/report.h"
#include "tools/plan/options.h"
#include "tools/plan/timeline.h"

namespace moai {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

PlanSummary SummaryByHand() {
  PlanSummary plan;
  plan.fits = true;
  plan.description = "data=4 (matmul 16)";
  plan.num_micro_batches = 2;
  plan.batch_per_device = 8;
  plan.data = 4;
  plan.recomputation = "full";
  plan.state_sharding = 3;
  plan.distribute_param = true;
  plan.cost = {.seconds = 0.5, .compute = 0.4, .communication = 0.2, .exposed = 0.1};
  plan.memory = {kGiB, 2 * kGiB, 0, kGiB / 2};
  plan.samples_per_second = 128;
  plan.tokens_per_second = 131072;
  plan.mfu = 0.125;
  return plan;
}

PlanReport ReportByHand() {
  PlanReport report;
  report.model = "tiny";
  report.cluster = "1x8 H100";
  report.devices = 4;
  report.samples = 64;
  report.tokens = 65536;
  report.parameters = 120000000;
  report.device_bytes = 80 * kGiB;
  report.chosen = SummaryByHand();
  report.slower = {{"data=2; model=2", 0.75, 3 * kGiB}};
  report.too_large = {{"one device", 0.05, 100 * kGiB}};
  report.evaluated = 7;
  report.feasible = 3;
  report.bound = {0.25, 0.2, 0.04, 0.01};
  report.planning_seconds = 1.5;
  report.planning_processor_seconds = 1.25;
  return report;
}

TEST(ReportText, IsAsDocumented) {
  EXPECT_EQ(ReportText(ReportByHand()),
            R"(tiny: 0.12 billion parameters, 64 samples a step, 65536 tokens
4 devices of 1x8 H100, 80.00 GiB each

chosen
  data=4 (matmul 16)
  num_stages : 1, num_micro_batches : 2, batch_per_device : 8, No TP, recomputation : full, distribute_param : true
  step 0.500 s: compute 0.400 s, communication 0.200 s, not computing 0.100 s
  131072 tokens/s, 32768 a device; MFU 12.5 %
  memory of a device: 3.50 GiB (parameters 1.00 GiB, optimizer state 2.00 GiB, other state 0.00 GiB, gradients and activations 0.50 GiB)
  no plan is faster than 0.250 s (arithmetic 0.200 s, other kernels 40.000 ms, host 10.000 ms): gap 100.0 %

rejected: slower
      0.750 s      3.00 GiB  data=2; model=2

rejected: does not fit
    50.000 ms    100.00 GiB  one device

planned in 1.500 s (1.250 s of processor time): 7 plans evaluated, 3 of them fit
)");
}

TEST(ReportText, SaysWhatDoesNotFitOrExist) {
  PlanReport report = ReportByHand();
  report.chosen.fits = false;
  report.stated_error = "no mesh of these devices satisfies the constraints";
  const std::string text = ReportText(report);
  EXPECT_THAT(text, HasSubstr("NOTHING FITS; the smallest plan is\n"));
  EXPECT_THAT(text, HasSubstr("the stated plan does not exist: no mesh"));
  report.stated = report.chosen;
  EXPECT_THAT(ReportText(report), HasSubstr("stated (DOES NOT FIT)\n"));
}

TEST(FlavorsText, IsAsDocumented) {
  FlavorRow small{.devices = 1, .plan = SummaryByHand()};
  small.plan->fits = false;
  small.plan->description = "one device";
  const FlavorRow fits{.devices = 4, .plan = SummaryByHand()};
  const FlavorRow none{.devices = 8, .error = "no plan satisfies the constraints"};
  EXPECT_EQ(FlavorsText({small, fits, none}),
            R"( devices  fits        step     per second       a device        memory  plan
       1    no           -              -              -      3.50 GiB  the smallest: one device
       4   yes     0.500 s         131072          32768      3.50 GiB  data=4 (matmul 16)
       8    no  no plan satisfies the constraints
per second: tokens
)");
}

class Planned : public testing::Test {
 protected:
  static PlanningInput TinyInput(int64_t devices) {
    const models::LlamaConfig config{.vocabulary = 512, .hidden = 128, .layers = 2};
    absl::StatusOr<CapturedStep> step = models::CaptureModel("tiny", config, 8);
    EXPECT_TRUE(step.ok()) << step.status();
    absl::StatusOr<PlanningInput> input =
        MakePlanningInput(*std::move(step), ClusterOf(**FindGpuType("H100"), 1, devices));
    EXPECT_TRUE(input.ok()) << input.status();
    return *std::move(input);
  }
};

// However much faster it would be to split samples along that axis too.
TEST_F(Planned, TensorParallelismSplitsTensors) {
  const PlanningInput input = TinyInput(4);
  const absl::StatusOr<SearchConstraints> forced = ParseForce("tp=4,recompute=none", 4, 8);
  ASSERT_TRUE(forced.ok()) << forced.status();
  const absl::StatusOr<PlannedStep> planned = PlanStep(input, {.devices = 4}, *forced);
  ASSERT_TRUE(planned.ok()) << planned.status();
  for (const EvaluatedCandidate& evaluated : planned->result.candidates) {
    const std::vector<AxisPolicy>& axes = evaluated.candidate.axes;
    ASSERT_EQ(axes.size(), 1);
    const auto& facts = planned->space.facts(RecomputeMode::kNone);
    // Nothing of the step's data, but perhaps the last, for light nodes.
    for (size_t i = 0; i + 1 < std::max<size_t>(2, axes[0].roles.size()); ++i) {
      EXPECT_FALSE(facts.roles()[axes[0].roles.at(i)].in_feeds)
          << planned->space.Describe(evaluated.candidate);
    }
  }
}

TEST_F(Planned, FiguresAgreeWithEachOther) {
  const PlanningInput input = TinyInput(4);
  const ReportOptions options{.devices = 4};
  const absl::StatusOr<PlannedStep> planned = PlanStep(input, options);
  ASSERT_TRUE(planned.ok()) << planned.status();
  const absl::StatusOr<PlannedStep> stated =
      PlanStep(input, options, {.data = 2, .model = 2, .micro_batches = 2});
  const absl::StatusOr<PlanReport> report = MakeReport(input, options, *planned, &stated);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->chosen.fits);
  EXPECT_GT(report->bound.seconds, report->bound.host);
  EXPECT_LE(report->bound.seconds, report->chosen.cost.seconds);
  for (const PlanLine& line : report->slower) {
    EXPECT_LE(report->chosen.cost.seconds, line.seconds) << line.description;
  }
  EXPECT_EQ(report->chosen.memory.total(), report->chosen.cost.total_bytes());
  // AdamW keeps two moments of each parameter, in its dtype.
  EXPECT_GT(report->chosen.memory.parameters, 0);
  EXPECT_EQ(report->chosen.memory.optimizer, 2 * report->chosen.memory.parameters);
  EXPECT_GT(report->chosen.mfu, 0);
  EXPECT_LT(report->chosen.mfu, 1);
  ASSERT_TRUE(report->stated.has_value()) << report->stated_error;
  EXPECT_EQ(report->stated->data, 2);
  EXPECT_EQ(report->stated->model, 2);
  EXPECT_EQ(report->stated->num_micro_batches, 2);
  EXPECT_EQ(report->stated->batch_per_device, 2);
  EXPECT_LE(report->chosen.cost.seconds, report->stated->cost.seconds);
  const json parsed = json::parse(ReportJson(*report));
  EXPECT_EQ(parsed["devices"], 4);
  EXPECT_DOUBLE_EQ(parsed["chosen"]["step_s"], report->chosen.cost.seconds);
  EXPECT_EQ(parsed["stated"]["model"], 2);
}

TEST_F(Planned, NothingFitsIsSaid) {
  PlanningInput input = TinyInput(2);
  input.cluster.device.memory_bytes = 1000;
  const absl::StatusOr<PlannedStep> planned = PlanStep(input, {.devices = 2});
  ASSERT_TRUE(planned.ok()) << planned.status();
  const absl::StatusOr<PlanReport> report = MakeReport(input, {.devices = 2}, *planned);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->chosen.fits);
  EXPECT_EQ(report->feasible, 0u);
  EXPECT_TRUE(report->slower.empty());
}

TEST_F(Planned, MoreDevicesThanTheClusterHas) {
  const PlanningInput input = TinyInput(2);
  const absl::Status status = PlanStep(input, {.devices = 4}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has 2 devices: cannot plan for 4"));
}

TEST_F(Planned, FlavorsDouble) {
  const PlanningInput input = TinyInput(4);
  const std::vector<FlavorRow> rows = CompareFlavors(input, {.devices = 4});
  ASSERT_EQ(rows.size(), 3u);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].devices, int64_t{1} << i);
    ASSERT_TRUE(rows[i].plan.has_value()) << rows[i].error;
    EXPECT_TRUE(rows[i].plan->fits);
  }
  const json parsed = json::parse(FlavorsJson(rows));
  ASSERT_EQ(parsed.size(), 3u);
  EXPECT_TRUE(parsed[0]["fits"]);
}

json ReadTrace(const std::string& path) {
  std::ifstream file(path);
  return json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
}

int64_t CompleteEvents(const json& trace) {
  int64_t count = 0;
  for (const json& event : trace["traceEvents"]) count += event["ph"] == "X" ? 1 : 0;
  return count;
}

TEST_F(Planned, TimelineOfKernels) {
  const PlanningInput input = TinyInput(2);
  const absl::StatusOr<PlannedStep> planned = PlanStep(input, {.devices = 2, .most_stages = 1});
  ASSERT_TRUE(planned.ok()) << planned.status();
  const EvaluatedCandidate& best = planned->result.candidates[0];
  const std::string path = testing::TempDir() + "/kernels.json";
  const absl::StatusOr<double> seconds =
      WriteTimeline(input.cluster, planned->space, best.candidate, path);
  ASSERT_TRUE(seconds.ok()) << seconds.status();
  // The same kernels and collectives; the simulator slows kernels down beside collectives.
  EXPECT_GE(*seconds, best.cost.seconds * 0.99);
  EXPECT_LE(*seconds, best.cost.seconds * input.cluster.overlap_slowdown * 1.01);
  EXPECT_GT(CompleteEvents(ReadTrace(path)), 100);
}

TEST_F(Planned, TimelineOfAPipeline) {
  const PlanningInput input = TinyInput(2);
  const absl::StatusOr<PlannedStep> planned =
      PlanStep(input, {.devices = 2}, {.stages = 2, .virtual_stages = 1, .micro_batches = 4});
  ASSERT_TRUE(planned.ok()) << planned.status();
  const EvaluatedCandidate& best = planned->result.candidates[0];
  ASSERT_EQ(best.candidate.stages, 2);
  const std::string path = testing::TempDir() + "/pipeline.json";
  const absl::StatusOr<double> seconds =
      WriteTimeline(input.cluster, planned->space, best.candidate, path);
  ASSERT_TRUE(seconds.ok()) << seconds.status();
  EXPECT_NEAR(*seconds, best.cost.seconds, 0.3 * best.cost.seconds);
  // Forwards and backwards of four micro-batches on each of two stages, at least.
  EXPECT_GE(CompleteEvents(ReadTrace(path)), 2 * 4 * 2);
  EXPECT_FALSE(
      WriteTimeline(input.cluster, planned->space, best.candidate, "/no/such/folder/x").ok());
}

}  // namespace
}  // namespace moai
