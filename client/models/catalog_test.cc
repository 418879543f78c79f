#include "client/models/catalog.h"

#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/verify.h"
#include "gtest/gtest.h"

namespace moai::models {
namespace {

using ::testing::HasSubstr;

ModelConfig Named(const std::string& name) {
  const absl::StatusOr<ModelConfig> config = FindModel(name);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.value_or(ModelConfig());
}

// The counts that the papers and model cards state, in billions.
TEST(CatalogTest, SizesArePublishedOnes) {
  const std::map<std::string, double> published = {
      {"llama2-7b", 6.74},      {"llama2-13b", 13.02},   {"llama2-70b", 68.98},
      {"llama3-8b", 8.03},      {"llama3-70b", 70.55},   {"llama3-405b", 405.85},
      {"gpt2", 0.1244},         {"gpt2-xl", 1.558},      {"gpt3-13b", 12.85},
      {"gpt3-175b", 174.6},     {"gpt-22b", 22},         {"gpt-530b", 530},
      {"gpt-1t", 1008},         {"mpt-7b", 6.659},       {"mpt-30b", 29.975},
      {"nemotron4-15b", 15.6},  {"nemotron4-340b", 341}, {"mixtral-8x7b", 46.70},
      {"mixtral-8x22b", 140.6}, {"grok1-314b", 314},     {"vit-b16", 0.08657},
      {"vit-l16", 0.30433},     {"vit-h14", 0.6320},     {"resnet18", 0.011690},
      {"resnet50", 0.025557},   {"t5-small", 0.06051},   {"t5-base", 0.2229},
      {"t5-large", 0.7377},     {"t5-3b", 2.85},         {"t5-11b", 11.31},
      {"t5-1.1-xl", 2.85},      {"t5-1.1-xxl", 11.14},
  };
  for (const auto& [name, billions] : published) {
    const double count = static_cast<double>(ParameterCount(Named(name))) / 1e9;
    EXPECT_NEAR(count / billions, 1, 0.015) << name << " has " << count;
  }
}

// Every model becomes one graph that verifies, with the parameters that the formula counts.
TEST(CatalogTest, EveryModelIsCaptured) {
  for (const std::string& name : ModelNames()) {
    const ModelConfig config = Named(name);
    const absl::StatusOr<CapturedStep> step = CaptureModel(name, config, 8);
    ASSERT_TRUE(step.ok()) << name << ": " << step.status();
    EXPECT_EQ(step->parameters, ParameterCount(config)) << name;
    EXPECT_TRUE(VerifyStructure(*step->graph).ok()) << name;
    EXPECT_LE(step->graph->nodes.size(), kMaxNodes) << name;
    std::printf("%-16s %6zu nodes %6zu slots %9.3f B parameters\n", name.c_str(),
                step->graph->nodes.size(), step->slots.size(),
                static_cast<double>(step->parameters) / 1e9);
  }
}

TEST(CatalogTest, RefusesSizesThatMakeNoModel) {
  EXPECT_THAT(std::string(FindModel("llama4").status().message()), HasSubstr("llama3-8b"));
  const auto message = [](const ModelConfig& config) {
    return std::string(CaptureModel("odd", config, 1).status().message());
  };
  EXPECT_THAT(message(LlamaConfig{.heads = 0}), HasSubstr("model odd: heads must be 1"));
  EXPECT_THAT(message(LlamaConfig{.hidden = 100, .heads = 3}), HasSubstr("must divide hidden 100"));
  EXPECT_THAT(message(LlamaConfig{.hidden = 12, .heads = 4}), HasSubstr("the head size 3"));
  EXPECT_THAT(message(GptConfig{.layers = -1}), HasSubstr("layers"));
  EXPECT_THAT(message(GptConfig{.heads = 4, .kv_heads = 3}), HasSubstr("kv_heads 3 must divide"));
  EXPECT_THAT(message(MixtralConfig{.top_k = 9}), HasSubstr("more than the 8 experts"));
  EXPECT_THAT(message(MixtralConfig{.capacity_factor = std::nan("")}),
              HasSubstr("capacity_factor"));
  EXPECT_THAT(message(VitConfig{.patch = 15}), HasSubstr("must divide image 224"));
  EXPECT_THAT(message(ResnetConfig{.width = 0}), HasSubstr("width"));
  EXPECT_THAT(message(T5Config{.head_size = 0}), HasSubstr("head_size"));
  EXPECT_THAT(std::string(CaptureModel("odd", LlamaConfig{}, 0).status().message()),
              HasSubstr("batch must be 1 to"));
}

TEST(CatalogTest, TheSequenceIsWhatTokensCount) {
  ModelConfig config = LlamaConfig{.layers = 1};
  SetSequence(config, 64);
  EXPECT_EQ(CaptureModel("llama", config, 3)->tokens, 3 * 64);
  config = T5Config{.layers = 1};
  SetSequence(config, 64);
  EXPECT_EQ(CaptureModel("t5", config, 1)->tokens, 64 + 128);
  config = ResnetConfig{};
  SetSequence(config, 64);
  EXPECT_EQ(CaptureModel("resnet", config, 2)->tokens, 0);
}

TEST(CatalogTest, SizesFromTablesFindTheirArchitecture) {
  const auto config = [](const LanguageModelSizes& sizes) {
    const absl::StatusOr<ModelConfig> found = ConfigForSizes(sizes);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.value_or(ModelConfig());
  };
  // MPT-7b, GPT-16B with a vocabulary of 131072, Llama3-8B, Grok-1.
  const ModelConfig mpt = config({.layers = 32,
                                  .hidden = 4096,
                                  .heads = 32,
                                  .vocabulary = 50368,
                                  .sequence = 2048,
                                  .parameters = 6.65886e9});
  ASSERT_TRUE(std::holds_alternative<GptConfig>(mpt));
  EXPECT_TRUE(std::get<GptConfig>(mpt).tied_head);
  const ModelConfig untied = config({.layers = 32,
                                     .hidden = 6144,
                                     .ffn = 24576,
                                     .heads = 48,
                                     .vocabulary = 131072,
                                     .sequence = 4096,
                                     .parameters = 16.1e9});
  ASSERT_TRUE(std::holds_alternative<GptConfig>(untied));
  EXPECT_FALSE(std::get<GptConfig>(untied).tied_head);
  EXPECT_TRUE(std::holds_alternative<LlamaConfig>(config({.layers = 32,
                                                          .hidden = 4096,
                                                          .ffn = 14336,
                                                          .heads = 32,
                                                          .kv_heads = 8,
                                                          .vocabulary = 128256,
                                                          .sequence = 8192,
                                                          .parameters = 8.03e9})));
  const LanguageModelSizes grok = {.layers = 64,
                                   .hidden = 6144,
                                   .ffn = 32768,
                                   .heads = 48,
                                   .kv_heads = 8,
                                   .vocabulary = 131072,
                                   .sequence = 8192,
                                   .experts = 8};
  EXPECT_TRUE(std::holds_alternative<MixtralConfig>(config(grok)));
  const ModelConfig old = config({.layers = 2,
                                  .hidden = 64,
                                  .heads = 4,
                                  .vocabulary = 128,
                                  .sequence = 32,
                                  .fused_attention = false,
                                  .f32_logits = true});
  ASSERT_TRUE(std::holds_alternative<GptConfig>(old));
  EXPECT_FALSE(std::get<GptConfig>(old).fused_attention);
  EXPECT_GT(std::get<GptConfig>(old).attention_dropout, 0);
  EXPECT_TRUE(std::get<GptConfig>(old).f32_logits);
  LanguageModelSizes missing = grok;
  missing.layers = 0;
  EXPECT_THAT(std::string(ConfigForSizes(missing).status().message()), HasSubstr("layers"));
}

}  // namespace
}  // namespace moai::models
