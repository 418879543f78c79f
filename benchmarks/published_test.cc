#include <string>

#include "benchmarks/published_plans.h"
#include "benchmarks/published_score.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using testing::HasSubstr;

constexpr char kColumns[] =
    "source,model,params_B,layers,hidden,ffn,heads,kv_heads,vocab,seq_len,gpu,gpus,gpu_mem_GB,"
    "nvlink_domain,nic_GBps_per_gpu,tp,pp,dp,cp,ep,zero_or_fsdp,micro_batch,global_batch,"
    "recompute,precision,tflops_per_gpu,tokens_per_s_per_gpu,mfu_pct,peak_mem_GB,notes\n";

PublishedRow RowOf(const std::string& values) {
  absl::StatusOr<std::vector<PublishedRow>> rows = ParsePublishedTable(kColumns + values + "\n");
  EXPECT_TRUE(rows.ok()) << rows.status();
  return rows->at(0);
}

std::string WhyNot(const std::string& values) {
  return std::string(ReadCase(RowOf(values)).status().message());
}

TEST(ReadCase, AWholeRow) {
  const absl::StatusOr<PublishedCase> c = ReadCase(
      RowOf("s,m,7,32,4096,16384,32,8,50257,2048,A100,64,40,8,25,4,2,8,1,,ZeRO-1 over 4,2,128,"
            "selective + sequence parallel,BF16,,1000,,30,vp=2"));
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->sizes.layers, 32);
  EXPECT_EQ(c->sizes.kv_heads, 8);
  EXPECT_EQ(c->sizes.vocabulary, 50688);  // the next multiple of 128 * 4
  EXPECT_EQ(c->batch, 128);
  EXPECT_EQ(c->plan.model, 4);
  EXPECT_EQ(c->plan.stages, 2);
  EXPECT_EQ(c->plan.virtual_stages, 2);
  EXPECT_EQ(c->plan.data, 8);
  EXPECT_EQ(c->plan.micro_batches, 128 / (8 * 2));
  EXPECT_EQ(c->plan.state, StateSharding::kOptimizer);
  EXPECT_EQ(c->plan.state_group, 4);
  EXPECT_EQ(c->plan.recompute, RecomputeMode::kSelective);
  EXPECT_EQ(c->plan.light, LightNodes::kSplit);
  EXPECT_TRUE(c->recompute_stated);
  EXPECT_EQ(c->cluster.device.name, "A100-40GB");
  EXPECT_EQ(c->cluster.device_count(), 64);
  EXPECT_DOUBLE_EQ(c->memory_bytes, 40 * kGibi);
  EXPECT_DOUBLE_EQ(c->peak_bytes, 30 * kGibi);
  EXPECT_DOUBLE_EQ(c->seconds, 128.0 * 2048 / (1000 * 64));
}

TEST(ReadCase, TheBatchFollowsFromAccumulation) {
  const absl::StatusOr<PublishedCase> c =
      ReadCase(RowOf("s,m,,2,64,,4,,512,64,H100,8,,,,1,1,8,,,FSDP,2,,,,,1000,,,ga=3"));
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->batch, 48);
  EXPECT_EQ(c->plan.micro_batches, 3);
  EXPECT_EQ(c->plan.state, StateSharding::kParameters);
  EXPECT_FALSE(c->recompute_stated);
}

TEST(ReadCase, AttentionIsFusedButWhereItCannotBe) {
  const auto fused = [](const std::string& recompute, const std::string& precision,
                        const std::string& notes) {
    const absl::StatusOr<PublishedCase> c =
        ReadCase(RowOf("s,m,,2,64,,4,,512,64,A100,8,,,,2,1,4,,,,2,16," + recompute + "," +
                       precision + ",,1000,,," + notes));
    EXPECT_TRUE(c.ok()) << c.status();
    return c->sizes.fused_attention;
  };
  EXPECT_TRUE(fused("none", "BF16", ""));
  EXPECT_TRUE(fused("none", "", ""));
  EXPECT_FALSE(fused("none", "FP16", ""));
  EXPECT_FALSE(fused("full", "FP16", ""));
  EXPECT_TRUE(fused("none", "FP16", "flash"));
  EXPECT_FALSE(fused("none", "BF16", "noflash"));
  // Its matrices are not kept.
  EXPECT_TRUE(fused("selective", "FP16", ""));
}

TEST(ReadCase, SaysWhatIsMissing) {
  EXPECT_THAT(WhyNot("s,m,,2,64,,4,,512,64,H100,8,,,,,,,,,,2,16,none,,,1000,,,"),
              HasSubstr("not stated: the plan"));
  EXPECT_THAT(WhyNot("s,m,,,,,,,,64,H100,8,,,,1,1,8,,,,2,16,none,,,1000,,,"),
              HasSubstr("not stated: the model's sizes"));
  EXPECT_THAT(WhyNot("s,m,,2,64,,4,,512,64,H100,8,,,,1,1,8,,,,,16,none,,,1000,,,"),
              HasSubstr("not stated: the micro-batch"));
  EXPECT_THAT(WhyNot("s,m,,2,64,,4,,512,64,H100,8,,,,1,1,8,,,,2,16,none,FP8,,1000,,,"),
              HasSubstr("FP8"));
  EXPECT_THAT(WhyNot("s,m,,2,64,,4,,512,64,H100,16,,,,1,1,8,,,,2,16,none,,,1000,,,"),
              HasSubstr("not the number of GPUs"));
  EXPECT_THAT(WhyNot("s,m,,2,64,,4,,512,64,H9,8,,,,1,1,8,,,,2,16,none,,,1000,,,"),
              HasSubstr("not built in"));
  EXPECT_THAT(WhyNot("s,m,,2,64,,4,,512,64,H100,8,,,,1,1,8,,,,2,16,none,,,,,,"),
              HasSubstr("a throughput"));
}

PredictedRow Row(const char* source, const char* task, const char* plan, double seconds,
                 double predicted) {
  return {.source = source,
          .task = task,
          .plan = plan,
          .seconds = seconds,
          .predicted_seconds = predicted};
}

TEST(ScorePublished, AScalarTakesABiasAway) {
  // Twice as slow as predicted, always.
  const PublishedScore score = ScorePublished(
      {Row("a", "t", "p", 2, 1), Row("a", "t", "q", 4, 2), Row("a", "u", "p", 6, 3)});
  EXPECT_NEAR(*score.time_median, 0.5, 1e-9);
  EXPECT_NEAR(*score.time_median_scaled, 0, 1e-2);
  EXPECT_EQ(score.scaled_rows, 3u);
  EXPECT_NEAR(*score.by_source.at("a").scalar, 2, 2e-2);
  EXPECT_EQ(*score.mean_regret, 0);
  EXPECT_EQ(score.tasks, 1u);
}

TEST(ScorePublished, TheScalarIsNotFittedToItsOwnRow) {
  // The other row says 1, so that this one is off by its own factor.
  const PublishedScore score = ScorePublished({Row("a", "t", "p", 1, 1), Row("a", "u", "p", 3, 1)});
  EXPECT_NEAR(*score.time_median_scaled, (2.0 / 1 + 2.0 / 3) / 2, 3e-2);
  // One row alone has no scalar.
  const PublishedScore single = ScorePublished({Row("b", "t", "p", 1, 1)});
  EXPECT_EQ(single.scaled_rows, 0u);
  EXPECT_FALSE(single.time_median_scaled.has_value());
}

TEST(ScorePublished, RegretIsOfTheChosenPlan) {
  const PublishedScore score = ScorePublished(
      {Row("a", "t", "p", 1.0, 2.0), Row("a", "t", "q", 1.1, 1.0), Row("a", "t", "q", 1.2, 1.0)});
  EXPECT_NEAR(*score.mean_regret, 0.1, 1e-9);
  EXPECT_NEAR(*score.spearman, -1, 1e-9);
}

TEST(ScorePublished, MemoryAndFits) {
  PredictedRow ran = Row("a", "t", "p", 1, 1);
  ran.memory_stated = true;
  ran.predicted_bytes = ran.needed_bytes = 90;
  ran.limit_bytes = 80;
  PredictedRow too_large = Row("a", "t", "q", 0, 1);
  too_large.memory_stated = true;
  too_large.bytes = 100;
  too_large.predicted_bytes = too_large.needed_bytes = 75;
  too_large.limit_bytes = 80;
  PredictedRow unknown = too_large;
  unknown.memory_stated = false;
  const PublishedScore score = ScorePublished({ran, too_large, unknown});
  EXPECT_EQ(score.fits_rows, 2u);
  EXPECT_EQ(score.false_refusals, 1u);
  EXPECT_EQ(score.false_fits, 1u);
  EXPECT_EQ(score.memory_rows, 1u);
  EXPECT_NEAR(*score.memory_median, 0.25, 1e-9);
}

}  // namespace
}  // namespace moai
