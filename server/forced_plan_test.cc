#include "server/forced_plan.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseForcedPlan(text).status().message());
}

TEST(ForcedPlanTest, SetsWhatIsNamed) {
  const auto all = ParseForcedPlan(
      "data=2,model=4,stages=3,virtual_stages=2,micro_batches=8,state=3,recompute=2,sequence=1,"
      "experts=1");
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->data, 2);
  EXPECT_EQ(all->model, 4);
  EXPECT_EQ(all->stages, 3);
  EXPECT_EQ(all->virtual_stages, 2);
  EXPECT_EQ(all->micro_batches, 8);
  EXPECT_EQ(all->state, 3);
  EXPECT_EQ(all->recompute, 2);
  EXPECT_EQ(all->sequence, 1);
  EXPECT_EQ(all->experts, 1);
}

TEST(ForcedPlanTest, LeavesTheRestFree) {
  const SearchConstraints free;
  for (const char* text : {"", "data=2"}) {
    const auto parsed = ParseForcedPlan(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->data, *text == '\0' ? free.data : 2);
    EXPECT_EQ(parsed->model, free.model);
    EXPECT_EQ(parsed->micro_batches, free.micro_batches);
    EXPECT_EQ(parsed->state, free.state);
    EXPECT_EQ(parsed->recompute, free.recompute);
    EXPECT_EQ(parsed->sequence, free.sequence);
  }
}

TEST(ForcedPlanTest, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(ErrorOf("data=2,tensor=2"), HasSubstr("\"tensor\" is nothing that a plan"));
  EXPECT_THAT(ErrorOf("data=2,"), HasSubstr("\"\" is nothing that a plan"));
  EXPECT_THAT(ErrorOf("data=2,data=2"), HasSubstr("data is given twice"));
  EXPECT_THAT(ErrorOf("data"), HasSubstr("data= is not a number from 1"));
  EXPECT_THAT(ErrorOf("data=0"), HasSubstr("data=0 is not a number from 1"));
  EXPECT_THAT(ErrorOf("model=2x"), HasSubstr("model=2x is not a number"));
  EXPECT_THAT(ErrorOf("state=4"), HasSubstr("from 0 to 3"));
  EXPECT_THAT(ErrorOf("recompute=-1"), HasSubstr("from 0 to 2"));
}

}  // namespace
}  // namespace moai
