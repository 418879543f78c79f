// The models of this folder by name and by size, ready to be captured.
#ifndef MOAI_CLIENT_MODELS_CATALOG_H_
#define MOAI_CLIENT_MODELS_CATALOG_H_

#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/models/capture.h"
#include "client/models/gpt.h"
#include "client/models/llama.h"
#include "client/models/mixtral.h"
#include "client/models/resnet.h"
#include "client/models/t5.h"
#include "client/models/vit.h"

namespace moai::models {

using ModelConfig =
    std::variant<LlamaConfig, GptConfig, MixtralConfig, VitConfig, ResnetConfig, T5Config>;

// All names, sorted: "gpt3-175b", "llama3-70b", "mixtral-8x7b", "resnet50", "t5-11b", "vit-b16" ...
std::vector<std::string> ModelNames();

// The published sizes of a model, with the sequence it was trained on.
// NotFound, with all names, for an unknown one.
absl::StatusOr<ModelConfig> FindModel(absl::string_view name);

// InvalidArgument, with the field, where the sizes do not make a model.
absl::Status CheckConfig(const ModelConfig& config);

// The longest input in tokens, of T5 the source's. None where the model has no sequence of its own.
void SetSequence(ModelConfig& config, int64_t sequence);

// Trained numbers, by formula.
int64_t ParameterCount(const ModelConfig& config);

// A training step of `batch` sequences or images, each as long or as large as the config allows.
absl::StatusOr<CapturedStep> CaptureModel(const std::string& name, const ModelConfig& config,
                                          int64_t batch, const CaptureOptions& options = {});

// Sizes of a language model as tables of measurements give them. 0 where a field is not stated.
struct LanguageModelSizes {
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t ffn = 0;  // 0: 4 hidden
  int64_t heads = 0;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t vocabulary = 0;
  int64_t sequence = 0;
  double parameters = 0;  // as stated, in numbers
  int64_t experts = 0;    // 0: not a mixture
  int64_t top_k = 2;
  // False: of a GPT, attention is made of products, a softmax and dropout. Others are fused.
  bool fused_attention = true;
  bool f32_logits = false;  // GptConfig::f32_logits, and of Llama
  friend auto operator<=>(const LanguageModelSizes&, const LanguageModelSizes&) = default;
};

// The architecture that such sizes most likely mean: of GPT (with tied and with separate head) and
// Llama, or of mixtures where there are experts, the one whose parameter count is nearest to the
// stated one; without a stated one, Llama where ffn is not 4 hidden, else GPT.
// InvalidArgument where a needed size is missing or does not fit.
absl::StatusOr<ModelConfig> ConfigForSizes(const LanguageModelSizes& sizes);

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_CATALOG_H_
