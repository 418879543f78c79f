#include "tests/end_to_end/step_accounts.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kPlanned[] =
    "t debug server[1] step planned session=1 rank=0 program=2 objects=8 arena=64 sent=-\n"
    "t debug server[1] step planned session=1 rank=1 program=2 objects=8 arena=32 "
    "sent=all_reduce:2:10,send:1:4\n";

TEST(StepAccountsTest, CountsWhatAgrees) {
  const auto counted = CompareWithPlan(std::string(kPlanned) +
                                       "executor step ran session=1 rank=1 program=2 objects=8 "
                                       "arena=32 sent=all_reduce:2:10,send:1:4\n"
                                       "something else\n"
                                       "executor step ran session=1 rank=0 program=2 objects=8 "
                                       "arena=64 sent=-\n");
  ASSERT_TRUE(counted.ok()) << counted.status();
  EXPECT_EQ(counted->executions, 2);
  EXPECT_THAT(counted->calls, ElementsAre(Pair("all_reduce", 2), Pair("send", 1)));
  EXPECT_THAT(counted->bytes, ElementsAre(Pair("all_reduce", 10), Pair("send", 4)));
  EXPECT_THAT(counted->peak, ElementsAre(Pair(0, 72), Pair(1, 40)));
}

TEST(StepAccountsTest, NamesWhatDoesNot) {
  const auto differs = CompareWithPlan(
      std::string(kPlanned) +
      "step ran session=1 rank=1 program=2 objects=8 arena=32 sent=all_reduce:2:11,send:1:4\n");
  EXPECT_THAT(differs.status().message(), HasSubstr("session=1 rank=1 execution 0"));
  const auto unplanned = CompareWithPlan(
      std::string(kPlanned) + "step ran session=1 rank=2 program=2 objects=8 arena=0 sent=-\n");
  EXPECT_THAT(unplanned.status().message(), HasSubstr("planned \"nothing\""));
  EXPECT_FALSE(
      CompareWithPlan(std::string(kPlanned) + "step ran session=1 rank=0 program=2 failed").ok());
  EXPECT_EQ(CompareWithPlan(kPlanned).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace moai
