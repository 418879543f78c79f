// A program that reads its loss before the backward pass submits its training step in two parts:
// they are planned as one, and whatever else the program does gives the same numbers.
#include <cmath>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "client/moai.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/parallel/training_run.h"

namespace moai {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-6 * std::max(1.0, std::abs(want[i]))) << "number " << i;
  }
}

// The number behind `key` in the log's line about a region; -1 where there is none.
int64_t OfRegion(const std::string& log, const std::string& key) {
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    if (!absl::StrContains(line, "planned region")) continue;
    for (const absl::string_view word : absl::StrSplit(line, ' ')) {
      int64_t number = -1;
      const std::vector<std::string> pair = absl::StrSplit(word, '=');
      if (pair.size() == 2 && pair[0] == key && absl::SimpleAtoi(pair[1], &number)) return number;
    }
  }
  return -1;
}

struct PlanCase {
  std::string name;
  int devices = 1;
  std::string plan;    // forced
  std::string chosen;  // a part of what the server says that it chose
};

void PrintTo(const PlanCase& one, std::ostream* out) { *out << one.name; }

class RegionPlansTest : public ::testing::TestWithParam<PlanCase> {};

TEST_P(RegionPlansTest, ReadingTheLossFirstChangesNothing) {
  const PlanCase& one = GetParam();
  ClusterOptions options{.workers = one.devices > 1 ? 2 : 1,
                         .devices = one.devices > 1 ? one.devices / 2 : 1,
                         .devices_per_session = one.devices,
                         .server_flags = {"--log_level=debug"}};
  if (!one.plan.empty()) options.server_flags.push_back("--force_plan=" + one.plan);
  auto cluster = Cluster::Start(options);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  TrainingRun run{.model = SmallModel::kLlama, .batch = 16, .steps = 8};
  uint64_t want_bytes = 0, got_bytes = 0;
  const auto want = TrainFreely(**cluster, run, &want_bytes);
  ASSERT_TRUE(want.ok()) << want.status();
  EXPECT_THAT((*cluster)->Log(), Not(HasSubstr("planned region")));
  run.reads_first = true;
  const auto got = TrainFreely(**cluster, run, &got_bytes);
  ASSERT_TRUE(got.ok()) << got.status() << "\n" << (*cluster)->Log();
  ExpectNear(*got, *want);
  const std::string log = (*cluster)->Log();
  EXPECT_THAT(log, HasSubstr("planned region")) << log;
  EXPECT_THAT(log, Not(HasSubstr("region left")));
  EXPECT_THAT(log, HasSubstr(one.chosen));
  // As planned, beside the state, and as measured at the end, state and the space for temporaries.
  const int64_t region_bytes = OfRegion(log, "region_bytes");
  const int64_t whole_bytes = OfRegion(log, "whole_bytes");
  EXPECT_GT(whole_bytes, 0);
  EXPECT_LE(double(region_bytes), 1.1 * double(whole_bytes));
  EXPECT_LE(double(got_bytes), 1.1 * double(want_bytes));
  RecordProperty("region_bytes", absl::StrCat(region_bytes, " of ", whole_bytes));
  RecordProperty("bytes_in_use", absl::StrCat(got_bytes, " of ", want_bytes));
  printf("%s: planned %s, measured %s bytes\n", one.name.c_str(),
         absl::StrCat(region_bytes, " of ", whole_bytes).c_str(),
         absl::StrCat(got_bytes, " of ", want_bytes).c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Plans, RegionPlansTest,
    ::testing::Values(PlanCase{"OneDevice"}, PlanCase{"FourDevices", 4},
                      PlanCase{"MicroBatches", 4, "data=4,micro_batches=2,state=0,recompute=0",
                               "micro-batches 2"},
                      PlanCase{"ShardedState", 4, "data=4,state=3", "state sharding 3"},
                      PlanCase{"OneDeviceMicroBatches", 1, "micro_batches=4", "micro-batches 4"}),
    [](const auto& info) { return info.param.name; });

// What a program does in one of its steps beside training.
enum class Quirk {
  kNone,
  kReadsMoreFirst,  // an output of the model before the backward pass
  kReadsMoreLater,  // after the optimizer's step
  kKeepsMore,       // holds it until a later step, and reads it then
  kNoBackward,      // a step that only evaluates
  kLearningRate,    // another one from then on
  kUsesMore,        // computes something else of it before the backward pass
  kAnotherBatch,    // of another size
};

struct QuirkCase {
  std::string name;
  Quirk quirk;
  bool leaves = false;  // the region that was begun
};

void PrintTo(const QuirkCase& one, std::ostream* out) { *out << one.name; }

class Program {
 public:
  Program() : first_((ManualSeed(3), 24), 64), second_(64, 8) {
    std::vector<nn::NamedTensor> parameters;
    for (const auto& [name, layer] :
         {std::pair("first.", &first_), std::pair("second.", &second_)}) {
      for (const nn::NamedTensor& tensor : layer->NamedParameters()) {
        parameters.push_back({absl::StrCat(name, tensor.name), tensor.tensor});
      }
    }
    optimizer_ = std::make_unique<optim::Sgd>(parameters, optim::SgdOptions{.learning_rate = 0.1});
  }

  // Every number that the program read, in an order that does not depend on `reads_first`.
  absl::StatusOr<std::vector<double>> Run(Quirk quirk, bool reads_first) {
    std::vector<double> numbers;
    Tensor kept;
    for (int step = 0; step < 12; ++step) {
      const bool now = step == 6;
      const int64_t batch = now && quirk == Quirk::kAnotherBatch ? 96 : 128;
      const Tensor x = Normal({batch, 24});
      const Tensor y = second_.Forward(Relu(first_.Forward(x)));
      const Tensor loss = Mean(y * y) + Mean(Exp(y));
      double value = 0, more = 0;
      if (reads_first) {
        MOAI_ASSIGN_OR_RETURN(value, loss.Item());
      }
      if (now && quirk == Quirk::kReadsMoreFirst && reads_first) {
        MOAI_ASSIGN_OR_RETURN(more, First(y));
      }
      if (now && quirk == Quirk::kUsesMore) {
        MOAI_ASSIGN_OR_RETURN(more, Mean(y * 2).Item());
      }
      if (now && quirk == Quirk::kLearningRate) optimizer_->set_learning_rate(0.03);
      if (!now || quirk != Quirk::kNoBackward) {
        MOAI_RETURN_IF_ERROR(loss.Backward());
        MOAI_RETURN_IF_ERROR(optimizer_->Step({.release_gradients = true}));
      }
      if (!reads_first) {
        MOAI_ASSIGN_OR_RETURN(value, loss.Item());
      }
      const bool later =
          quirk == Quirk::kReadsMoreLater || (quirk == Quirk::kReadsMoreFirst && !reads_first);
      if (now && later) {
        MOAI_ASSIGN_OR_RETURN(more, First(y));
      }
      if (now && quirk == Quirk::kKeepsMore) kept = y;
      if (step == 8 && quirk == Quirk::kKeepsMore) {
        MOAI_ASSIGN_OR_RETURN(more, First(kept));
      }
      numbers.push_back(value);
      numbers.push_back(more);
    }
    for (const nn::Linear* layer : {&first_, &second_}) {
      MOAI_ASSIGN_OR_RETURN(const double weight, First(layer->weight()));
      numbers.push_back(weight);
    }
    return numbers;
  }

 private:
  static absl::StatusOr<double> First(const Tensor& tensor) {
    MOAI_ASSIGN_OR_RETURN(const std::vector<float> numbers, tensor.ToVector<float>());
    double sum = 0;
    for (const float number : numbers) sum += double(number) * number;
    return sum;
  }

  nn::Linear first_, second_;
  std::unique_ptr<optim::Sgd> optimizer_;
};

class RegionQuirksTest : public ::testing::TestWithParam<std::tuple<QuirkCase, int>> {
 protected:
  static absl::StatusOr<std::vector<double>> Run(const Cluster& cluster, Quirk quirk,
                                                 bool reads_first) {
    MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                          Accelerator::Connect({.server = cluster.address(), .log = false}));
    MOAI_ASSIGN_OR_RETURN(std::vector<double> numbers, Program().Run(quirk, reads_first));
    MOAI_RETURN_IF_ERROR(accelerator.Synchronize());
    return numbers;
  }
};

TEST_P(RegionQuirksTest, GiveTheNumbersOfAProgramWithoutRegions) {
  const auto& [one, devices] = GetParam();
  auto cluster = Cluster::Start(
      {.workers = devices, .devices_per_session = devices, .server_flags = {"--log_level=debug"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto want = Run(**cluster, one.quirk, /*reads_first=*/false);
  ASSERT_TRUE(want.ok()) << want.status();
  const auto got = Run(**cluster, one.quirk, /*reads_first=*/true);
  ASSERT_TRUE(got.ok()) << got.status() << "\n" << (*cluster)->Log();
  ExpectNear(*got, *want);
  const std::string log = (*cluster)->Log();
  EXPECT_THAT(log, HasSubstr("planned region"));
  if (one.leaves) {
    EXPECT_THAT(log, HasSubstr("region left"));
  } else {
    EXPECT_THAT(log, Not(HasSubstr("region left")));
  }
  if (HasFailure()) fprintf(stderr, "%s", log.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Quirks, RegionQuirksTest,
    ::testing::Combine(::testing::Values(QuirkCase{"None", Quirk::kNone},
                                         QuirkCase{"ReadsMoreFirst", Quirk::kReadsMoreFirst, true},
                                         QuirkCase{"ReadsMoreLater", Quirk::kReadsMoreLater, true},
                                         QuirkCase{"KeepsMore", Quirk::kKeepsMore, true},
                                         QuirkCase{"NoBackward", Quirk::kNoBackward, true},
                                         QuirkCase{"LearningRate", Quirk::kLearningRate, true},
                                         QuirkCase{"UsesMore", Quirk::kUsesMore, true},
                                         QuirkCase{"AnotherBatch", Quirk::kAnotherBatch}),
                       ::testing::Values(1, 2)),
    [](const auto& info) {
      return absl::StrCat(std::get<0>(info.param).name, std::get<1>(info.param));
    });

// Ids and labels of a batch, the last row of which may have a label that is none.
TEST(RegionErrorsTest, ABadLabelCostsItsStepAndNothingElse) {
  auto cluster = Cluster::Start({.server_flags = {"--log_level=debug"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  auto accelerator = Accelerator::Connect({.server = (*cluster)->address(), .log = false});
  ASSERT_TRUE(accelerator.ok()) << accelerator.status();
  ManualSeed(4);
  nn::Linear layer(24, 16);
  optim::AdamW optimizer(layer.NamedParameters(), {.learning_rate = 1e-2});
  const auto step = [&](int32_t last_label) -> absl::StatusOr<double> {
    std::vector<int32_t> labels(128, 3);
    labels.back() = last_label;
    const Tensor logits = Relu(layer.Forward(Normal({128, 24})) * 2);
    const Tensor loss = nn::CrossEntropyLoss(logits, Tensor::FromData(labels, {128}));
    const absl::StatusOr<double> value = loss.Item();
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
    return value;
  };
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(step(5).ok());
  EXPECT_THAT((*cluster)->Log(), HasSubstr("planned region"));
  const auto before = layer.weight().ToVector<float>();
  ASSERT_TRUE(before.ok()) << before.status();
  const absl::StatusOr<double> bad = step(99);
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("99"));
  const auto after = layer.weight().ToVector<float>();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(*after, *before);
  ASSERT_TRUE(step(5).ok());
  const auto later = layer.weight().ToVector<float>();
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_NE(*later, *before);
}

}  // namespace
}  // namespace moai
