// Random graphs under random decisions: what the devices compute together is what one computes.
#include "scheduler/partition/partitioner.h"

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "graph/interpreter.h"
#include "graph/testing/random_bindings.h"
#include "gtest/gtest.h"
#include "scheduler/partition/testing/random_decisions.h"
#include "scheduler/partition/testing/run_on_devices.h"

namespace moai {
namespace {

constexpr double kTolerance = 1e-7;
constexpr int kMostGraphs = 5000;

void ExpectEqual(const std::vector<ReferenceTensor>& got,
                 const std::vector<ReferenceTensor>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i].type, expected[i].type);
    EXPECT_EQ(got[i].integers, expected[i].integers) << "output " << i;
    for (size_t k = 0; k < expected[i].floats.size(); ++k) {
      const double a = got[i].floats[k], b = expected[i].floats[k];
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      ASSERT_NEAR(a, b, kTolerance * (1 + std::abs(b))) << "output " << i << " element " << k;
    }
  }
}

int Graphs() {
  int graphs = 1500;
  if (const char* wanted = std::getenv("MOAI_PARTITION_GRAPHS")) {
    EXPECT_TRUE(absl::SimpleAtoi(wanted, &graphs));
  }
  return graphs;
}

TEST(PartitionerTest, AnyDecisionsGiveWhatOneDeviceGives) {
  const int graphs = Graphs();
  PlanCoverage coverage;
  // On until every op was split in every way that it can be, under every schedule.
  int seed = 0, unusable = 0;
  for (; seed < graphs || (seed < graphs + kMostGraphs && !coverage.Missing().empty()); ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const auto wanted = seed < graphs ? std::nullopt : DrawMissing(random, coverage);
    const CapturedGraph captured = DrawGraph(random, /*most_nodes=*/12, wanted);
    std::vector<ReferenceTensor> bindings;
    const auto bytes = RandomBindings(captured, random);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bindings.push_back(
          ReferenceTensor::FromBytes(captured.types[captured.graph.inputs[i].value], bytes[i]));
    }
    const auto expected = Interpret(captured.graph, captured.sizes, bindings);
    if (absl::IsInvalidArgument(expected.status())) {
      ++unusable;  // an index that another use of it puts out of range
      continue;
    }
    ASSERT_TRUE(expected.ok()) << expected.status();
    RandomDecisions decisions(captured, random, &coverage);
    const PartitionRequest request = decisions.Draw(
        {.schedule = wanted.has_value() ? std::optional(std::get<2>(*wanted)) : std::nullopt});
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(request)));
    const absl::StatusOr<DevicesResult> got = RunOnDevices(request, bindings, kTolerance);
    ASSERT_TRUE(got.ok()) << got.status();
    ExpectEqual(got->outputs, *expected);
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  EXPECT_LE(100 * unusable, seed);
  std::cout << seed - unusable << " graphs\n" << coverage.Table() << std::endl;
  EXPECT_THAT(coverage.Missing(), testing::IsEmpty());
}

}  // namespace
}  // namespace moai
