#include "tools/plan/options.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using testing::HasSubstr;

std::string ErrorOf(absl::string_view force, int64_t devices = 8, int64_t batch = 64) {
  return std::string(ParseForce(force, devices, batch).status().message());
}

TEST(ParseForce, ReadsEveryKey) {
  const absl::StatusOr<SearchConstraints> parsed =
      ParseForce("tp=2,pp=2,dp=2,micro_batch=4,recompute=full,zero=1,virtual_stages=3", 8, 64);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->model, 2);
  EXPECT_EQ(parsed->stages, 2);
  EXPECT_EQ(parsed->data, 2);
  EXPECT_EQ(parsed->micro_batches, 64 / 2 / 4);
  EXPECT_EQ(parsed->virtual_stages, 3);
  EXPECT_EQ(parsed->state, int(StateSharding::kOptimizer));
  EXPECT_EQ(parsed->recompute, int(RecomputeMode::kFull));
}

TEST(ParseForce, WhatIsLeftOutIsFree) {
  const absl::StatusOr<SearchConstraints> parsed = ParseForce("tp=2", 8, 64);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->tensor);
  EXPECT_EQ(parsed->data, 0);
  EXPECT_EQ(parsed->stages, 0);
  EXPECT_EQ(parsed->state, -1);
  EXPECT_EQ(parsed->recompute, -1);
}

TEST(ParseForce, TheThirdFollowsFromTheOtherTwo) {
  const absl::StatusOr<SearchConstraints> parsed = ParseForce("tp=2,pp=1,micro_batch=1", 8, 64);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->data, 4);
  EXPECT_EQ(parsed->micro_batches, 16);
}

TEST(ParseForce, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf("tp"), HasSubstr("'tp' is none"));
  EXPECT_THAT(ErrorOf("tp=2,tp=2"), HasSubstr("states tp twice"));
  EXPECT_THAT(ErrorOf("tp=two"), HasSubstr("tp is a whole number of at least 1, not 'two'"));
  EXPECT_THAT(ErrorOf("width=2"), HasSubstr("no key 'width'; known are tp, pp, dp"));
  EXPECT_THAT(ErrorOf("zero=4"), HasSubstr("zero is 0, 1, 2 or 3"));
  EXPECT_THAT(ErrorOf("recompute=some"), HasSubstr("none, selective or full"));
  EXPECT_THAT(ErrorOf("tp=3"), HasSubstr("must make 8 devices"));
  EXPECT_THAT(ErrorOf("tp=2,pp=2,dp=1"), HasSubstr("must make 8 devices"));
  EXPECT_THAT(ErrorOf("tp=9223372036854775807,pp=9223372036854775807"),
              HasSubstr("must make 8 devices"));
  EXPECT_THAT(ErrorOf("micro_batch=2"), HasSubstr("needs dp"));
  EXPECT_THAT(ErrorOf("dp=8,micro_batch=3"), HasSubstr("no micro-batches of 3"));
  EXPECT_THAT(ErrorOf("dp=8,micro_batch=1,micro_batches=8"), HasSubstr("state one"));
}

TEST(ParseForce, SplitsSequencesOrExpertsAlongTheModelAxis) {
  const auto context = ParseForce("cp=4,dp=2", 8, 64);
  ASSERT_TRUE(context.ok()) << context.status();
  EXPECT_EQ(context->model, 4);
  EXPECT_EQ(context->sequence, 2);
  const auto experts = ParseForce("ep=2,pp=2", 8, 64);
  ASSERT_TRUE(experts.ok()) << experts.status();
  EXPECT_EQ(experts->model, 2);
  EXPECT_EQ(experts->data, 2);
  EXPECT_EQ(experts->experts, 1);
  EXPECT_TRUE(ParseForce("tp=8,cp=1,ep=1", 8, 64).ok());
}

TEST(ParseForce, SaysWhatIsNotThereYet) {
  for (const char* text : {"cp=2,tp=4", "ep=4,tp=2", "ep=2,cp=2"}) {
    const absl::Status status = ParseForce(text, 8, 64).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("one axis")) << text;
  }
}

TEST(LoadStep, NamesWhatThereIs) {
  const absl::Status status = LoadStep("llama9", {}, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'llama9' is no file"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("llama3-8b"));
}

TEST(LoadStep, TheOptionsReachTheModel) {
  const absl::StatusOr<CapturedStep> step =
      LoadStep("gpt2", {.batch = 3, .sequence = 64, .dtype = "f32"}, 8);
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(step->samples, 3);
  EXPECT_EQ(step->tokens, 3 * 64);
  const absl::StatusOr<CapturedStep> usual = LoadStep("gpt2", {.sequence = 64}, 8);
  ASSERT_TRUE(usual.ok()) << usual.status();
  EXPECT_EQ(usual->samples, 8);
  EXPECT_NE(usual->fingerprint, step->fingerprint);
  EXPECT_FALSE(LoadStep("gpt2", {.dtype = "int4"}, 1).ok());
}

TEST(LoadCluster, OneOfTwoWays) {
  EXPECT_FALSE(LoadCluster("", "", 8).ok());
  EXPECT_FALSE(LoadCluster("file", "H100", 8).ok());
  EXPECT_EQ(LoadCluster("no-such-file.yaml", "", 8).status().code(), absl::StatusCode::kNotFound);
  const absl::Status unknown = LoadCluster("", "H9000", 8).status();
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("H100"));
  const absl::StatusOr<Cluster> cluster = LoadCluster("", "H100", 12);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  EXPECT_EQ(cluster->device_count(), 16);
}

}  // namespace
}  // namespace moai
