#include "client/models/catalog.h"

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace moai::models {
namespace {

// Of attention's weights and everything else, in GPT-2 and GPT-3 alike.
constexpr double kGptDropout = 0.1;

// GPT-3's sizes (arXiv 2005.14165, table 2.1), and those of Megatron-LM's reports.
GptConfig GptOf(int64_t layers, int64_t hidden, int64_t heads, int64_t vocabulary = 50257,
                int64_t sequence = 2048) {
  return {.vocabulary = vocabulary,
          .hidden = hidden,
          .layers = layers,
          .heads = heads,
          .sequence = sequence};
}

GptConfig NemotronOf(int64_t layers, int64_t hidden, int64_t heads) {
  return {.vocabulary = 256000,
          .hidden = hidden,
          .layers = layers,
          .heads = heads,
          .kv_heads = 8,
          .sequence = 4096,
          .bias = false,
          .tied_head = false,
          .rotary = true,
          .activation = FeedForwardActivation::kSquaredRelu};
}

LlamaConfig LlamaOf(int64_t layers, int64_t hidden, int64_t ffn, int64_t heads, int64_t kv_heads,
                    int64_t vocabulary, int64_t sequence, double rotary_base) {
  return {.vocabulary = vocabulary,
          .hidden = hidden,
          .ffn = ffn,
          .layers = layers,
          .heads = heads,
          .kv_heads = kv_heads,
          .sequence = sequence,
          .rotary_base = rotary_base};
}

LlamaConfig Llama2Of(int64_t layers, int64_t hidden, int64_t ffn, int64_t heads, int64_t kv_heads) {
  return LlamaOf(layers, hidden, ffn, heads, kv_heads, 32000, 4096, 10000);
}

LlamaConfig Llama3Of(int64_t layers, int64_t hidden, int64_t ffn, int64_t heads) {
  return LlamaOf(layers, hidden, ffn, heads, 8, 128256, 8192, 500000);
}

T5Config T5Of(int64_t layers, int64_t hidden, int64_t ffn, int64_t heads, int64_t head_size) {
  return {.hidden = hidden, .ffn = ffn, .layers = layers, .heads = heads, .head_size = head_size};
}

T5Config T5GatedOf(int64_t layers, int64_t hidden, int64_t ffn, int64_t heads) {
  T5Config config = T5Of(layers, hidden, ffn, heads, 64);
  config.gated = true;
  config.tied_head = false;
  return config;
}

VitConfig VitOf(int64_t layers, int64_t hidden, int64_t heads, int64_t patch) {
  return {.patch = patch, .hidden = hidden, .layers = layers, .heads = heads};
}

constexpr int64_t kMaxBatch = int64_t{1} << 30;

using Catalog = std::map<std::string, ModelConfig, std::less<>>;

const Catalog& TheCatalog() {
  static const Catalog* const kCatalog = new Catalog{
      {"llama2-7b", Llama2Of(32, 4096, 11008, 32, 32)},
      {"llama2-13b", Llama2Of(40, 5120, 13824, 40, 40)},
      {"llama2-70b", Llama2Of(80, 8192, 28672, 64, 8)},
      {"llama3-8b", Llama3Of(32, 4096, 14336, 32)},
      {"llama3-70b", Llama3Of(80, 8192, 28672, 64)},
      {"llama3-405b", Llama3Of(126, 16384, 53248, 128)},
      {"gpt2", GptOf(12, 768, 12, 50257, 1024)},
      {"gpt2-medium", GptOf(24, 1024, 16, 50257, 1024)},
      {"gpt2-large", GptOf(36, 1280, 20, 50257, 1024)},
      {"gpt2-xl", GptOf(48, 1600, 25, 50257, 1024)},
      {"gpt3-1.3b", GptOf(24, 2048, 16)},
      {"gpt3-2.7b", GptOf(32, 2560, 32)},
      {"gpt3-6.7b", GptOf(32, 4096, 32)},
      {"gpt3-13b", GptOf(40, 5120, 40)},
      {"gpt3-175b", GptOf(96, 12288, 96)},
      {"gpt-22b", GptOf(48, 6144, 64, 51200)},
      {"gpt-530b", GptOf(105, 20480, 128, 51200)},
      {"gpt-1t", GptOf(128, 25600, 160, 51200)},
      {"mpt-7b", GptOf(32, 4096, 32, 50368)},
      {"mpt-30b", GptOf(48, 7168, 56, 50368)},
      {"nemotron4-15b", NemotronOf(32, 6144, 48)},
      {"nemotron4-340b", NemotronOf(96, 18432, 96)},
      {"mixtral-8x7b", MixtralConfig{.vocabulary = 32000,
                                     .hidden = 4096,
                                     .ffn = 14336,
                                     .layers = 32,
                                     .heads = 32,
                                     .kv_heads = 8,
                                     .sequence = 4096}},
      {"mixtral-8x22b", MixtralConfig{.vocabulary = 32768,
                                      .hidden = 6144,
                                      .ffn = 16384,
                                      .layers = 56,
                                      .heads = 48,
                                      .kv_heads = 8,
                                      .sequence = 4096}},
      {"grok1-314b", MixtralConfig{.vocabulary = 131072,
                                   .hidden = 6144,
                                   .ffn = 32768,
                                   .layers = 64,
                                   .heads = 48,
                                   .kv_heads = 8,
                                   .sequence = 8192}},
      {"vit-b16", VitOf(12, 768, 12, 16)},
      {"vit-l16", VitOf(24, 1024, 16, 16)},
      {"vit-h14", VitOf(32, 1280, 16, 14)},
      {"resnet18", ResnetConfig{}},
      {"resnet50", ResnetConfig{.blocks = {3, 4, 6, 3}, .bottleneck = true}},
      {"t5-small", T5Of(6, 512, 2048, 8, 64)},
      {"t5-base", T5Of(12, 768, 3072, 12, 64)},
      {"t5-large", T5Of(24, 1024, 4096, 16, 64)},
      {"t5-3b", T5Of(24, 1024, 16384, 32, 128)},
      {"t5-11b", T5Of(24, 1024, 65536, 128, 128)},
      {"t5-1.1-xl", T5GatedOf(24, 2048, 5120, 32)},
      {"t5-1.1-xxl", T5GatedOf(24, 4096, 10240, 64)},
  };
  return *kCatalog;
}

Tensor Ids(int64_t batch, int64_t sequence) {
  return Placeholder({Dtype::kI32, {batch, sequence}});
}

// A model that maps ids to a loss over the labels of each.
template <typename Model, typename Config>
TrainingProgram LanguageModel(const Config& config, int64_t batch) {
  auto model = std::make_unique<Model>(config);
  const int64_t sequence = config.sequence;
  TrainingProgram program = {.samples = batch, .tokens = batch * sequence};
  program.loss = [model = model.get(), batch, sequence] {
    return model->Loss(Ids(batch, sequence), Ids(batch, sequence));
  };
  program.module = std::move(model);
  return program;
}

template <typename Model, typename Config>
TrainingProgram ImageModel(const Config& config, int64_t batch) {
  auto model = std::make_unique<Model>(config);
  const Shape images = {batch, config.channels, config.image, config.image};
  TrainingProgram program = {.samples = batch};
  program.loss = [model = model.get(), batch, images] {
    return model->Loss(Placeholder({Dtype::kF32, images}), Placeholder({Dtype::kI32, {batch}}));
  };
  program.module = std::move(model);
  return program;
}

TrainingProgram MakeProgram(const LlamaConfig& config, int64_t batch) {
  return LanguageModel<Llama>(config, batch);
}
TrainingProgram MakeProgram(const GptConfig& config, int64_t batch) {
  return LanguageModel<Gpt>(config, batch);
}
TrainingProgram MakeProgram(const MixtralConfig& config, int64_t batch) {
  return LanguageModel<Mixtral>(config, batch);
}
TrainingProgram MakeProgram(const VitConfig& config, int64_t batch) {
  return ImageModel<Vit>(config, batch);
}
TrainingProgram MakeProgram(const ResnetConfig& config, int64_t batch) {
  return ImageModel<Resnet>(config, batch);
}
TrainingProgram MakeProgram(const T5Config& config, int64_t batch) {
  auto model = std::make_unique<T5>(config);
  const int64_t source = config.source_sequence, target = config.target_sequence;
  TrainingProgram program = {.samples = batch, .tokens = batch * (source + target)};
  program.loss = [model = model.get(), batch, source, target] {
    return model->Loss(Ids(batch, source), Ids(batch, target), Ids(batch, target));
  };
  program.module = std::move(model);
  return program;
}

void SetLongest(T5Config& config, int64_t sequence) { config.source_sequence = sequence; }
void SetLongest(VitConfig&, int64_t) {}
void SetLongest(ResnetConfig&, int64_t) {}
template <typename Config>
void SetLongest(Config& config, int64_t sequence) {
  config.sequence = sequence;
}

std::vector<ModelConfig> Candidates(const LanguageModelSizes& s, int64_t ffn, int64_t kv_heads) {
  if (s.experts > 0) {
    return {MixtralConfig{.vocabulary = s.vocabulary,
                          .hidden = s.hidden,
                          .ffn = ffn,
                          .layers = s.layers,
                          .heads = s.heads,
                          .kv_heads = kv_heads,
                          .experts = s.experts,
                          .top_k = s.top_k,
                          .sequence = s.sequence}};
  }
  GptConfig gpt = GptOf(s.layers, s.hidden, s.heads, s.vocabulary, s.sequence);
  gpt.ffn = ffn;
  gpt.kv_heads = kv_heads;
  gpt.f32_logits = s.f32_logits;
  gpt.fused_attention = s.fused_attention;
  if (!s.fused_attention) gpt.attention_dropout = kGptDropout;
  GptConfig untied = gpt;
  untied.tied_head = false;
  LlamaConfig llama = LlamaOf(s.layers, s.hidden, ffn, s.heads, kv_heads, s.vocabulary, s.sequence,
                              /*rotary_base=*/500000);
  llama.f32_logits = s.f32_logits;
  // The first of equals is taken.
  if (ffn == 4 * s.hidden) return {gpt, untied, llama};
  return {llama, gpt, untied};
}

}  // namespace

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, config] : TheCatalog()) names.push_back(name);
  return names;
}

absl::StatusOr<ModelConfig> FindModel(absl::string_view name) {
  const auto it = TheCatalog().find(name);
  if (it != TheCatalog().end()) return it->second;
  return absl::NotFoundError(absl::StrCat("no built-in model is called \"", name, "\"; there are ",
                                          absl::StrJoin(ModelNames(), ", ")));
}

void SetSequence(ModelConfig& config, int64_t sequence) {
  std::visit([sequence](auto& c) { SetLongest(c, sequence); }, config);
}

absl::StatusOr<CapturedStep> CaptureModel(const std::string& name, const ModelConfig& config,
                                          int64_t batch, const CaptureOptions& options) {
  absl::Status valid = CheckConfig(config);
  if (valid.ok() && (batch < 1 || batch > kMaxBatch)) {
    valid =
        absl::InvalidArgumentError(absl::StrCat("batch must be 1 to ", kMaxBatch, ", got ", batch));
  }
  if (!valid.ok()) {
    return absl::Status(valid.code(), absl::StrCat("model ", name, ": ", valid.message()));
  }
  const auto make = [&] {
    return std::visit([batch](const auto& c) { return MakeProgram(c, batch); }, config);
  };
  return CaptureTrainingStep(name, make, options);
}

absl::StatusOr<ModelConfig> ConfigForSizes(const LanguageModelSizes& sizes) {
  const int64_t ffn = sizes.ffn > 0 ? sizes.ffn : 4 * sizes.hidden;
  const int64_t kv_heads = sizes.kv_heads > 0 ? sizes.kv_heads : sizes.heads;
  const std::vector<ModelConfig> candidates = Candidates(sizes, ffn, kv_heads);
  const ModelConfig* best = nullptr;
  double least = std::numeric_limits<double>::infinity();
  for (const ModelConfig& candidate : candidates) {
    MOAI_RETURN_IF_ERROR(CheckConfig(candidate));
    const double count = static_cast<double>(ParameterCount(candidate));
    const double distance = sizes.parameters > 0 ? std::abs(std::log(count / sizes.parameters)) : 0;
    if (distance < least) {
      least = distance;
      best = &candidate;
    }
  }
  return *best;
}

}  // namespace moai::models
