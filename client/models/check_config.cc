// Which sizes make a model.
#include <initializer_list>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/models/catalog.h"

namespace moai::models {
namespace {

// Far beyond any model, and small enough for the count of parameters to fit.
constexpr int64_t kMaxField = int64_t{1} << 20;
constexpr int64_t kMaxHidden = int64_t{1} << 17;
constexpr int64_t kMaxLayers = int64_t{1} << 12;
constexpr int64_t kMaxExperts = int64_t{1} << 10;

struct Field {
  absl::string_view name;
  int64_t value;
  int64_t most = kMaxField;
};

absl::Status CheckPositive(std::initializer_list<Field> fields) {
  for (const Field& field : fields) {
    if (field.value >= 1 && field.value <= field.most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field.name, " must be 1 to ", field.most, ", got ", field.value));
  }
  return absl::OkStatus();
}

absl::Status CheckDivides(const Field& part, const Field& whole) {
  if (whole.value % part.value == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(part.name, " ", part.value, " must divide ", whole.name, " ", whole.value));
}

absl::Status CheckHeads(int64_t hidden, int64_t heads, int64_t kv_heads) {
  MOAI_RETURN_IF_ERROR(
      CheckPositive({{"hidden", hidden, kMaxHidden}, {"heads", heads}, {"kv_heads", kv_heads}}));
  MOAI_RETURN_IF_ERROR(CheckDivides({"heads", heads}, {"hidden", hidden}));
  return CheckDivides({"kv_heads", kv_heads}, {"heads", heads});
}

absl::Status CheckRotary(int64_t hidden, int64_t heads) {
  return CheckDivides({"2 (rotary positions turn pairs)", 2}, {"the head size", hidden / heads});
}

absl::Status Check(const LlamaConfig& c) {
  MOAI_RETURN_IF_ERROR(CheckPositive({{"vocabulary", c.vocabulary},
                                      {"ffn", c.ffn},
                                      {"layers", c.layers, kMaxLayers},
                                      {"sequence", c.sequence}}));
  MOAI_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads, c.kv_heads));
  return CheckRotary(c.hidden, c.heads);
}

absl::Status Check(const GptConfig& c) {
  MOAI_RETURN_IF_ERROR(CheckPositive({{"vocabulary", c.vocabulary},
                                      {"ffn", c.ffn == 0 ? 1 : c.ffn},
                                      {"layers", c.layers, kMaxLayers},
                                      {"sequence", c.sequence}}));
  MOAI_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads, c.kv_heads == 0 ? c.heads : c.kv_heads));
  return c.rotary ? CheckRotary(c.hidden, c.heads) : absl::OkStatus();
}

absl::Status Check(const MixtralConfig& c) {
  MOAI_RETURN_IF_ERROR(CheckPositive({{"vocabulary", c.vocabulary},
                                      {"ffn", c.ffn},
                                      {"layers", c.layers, kMaxLayers},
                                      {"experts", c.experts, kMaxExperts},
                                      {"top_k", c.top_k, kMaxExperts},
                                      {"group_size", c.group_size},
                                      {"sequence", c.sequence}}));
  if (c.top_k > c.experts) {
    return absl::InvalidArgumentError(
        absl::StrCat("top_k ", c.top_k, " is more than the ", c.experts, " experts"));
  }
  if (!(c.capacity_factor > 0 && c.capacity_factor <= static_cast<double>(kMaxField))) {
    return absl::InvalidArgumentError(
        absl::StrCat("capacity_factor must be above 0, got ", c.capacity_factor));
  }
  MOAI_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads, c.kv_heads));
  return CheckRotary(c.hidden, c.heads);
}

absl::Status Check(const VitConfig& c) {
  MOAI_RETURN_IF_ERROR(CheckPositive({{"image", c.image},
                                      {"patch", c.patch},
                                      {"channels", c.channels},
                                      {"classes", c.classes},
                                      {"ffn", c.ffn == 0 ? 1 : c.ffn},
                                      {"layers", c.layers, kMaxLayers}}));
  MOAI_RETURN_IF_ERROR(CheckDivides({"patch", c.patch}, {"image", c.image}));
  return CheckHeads(c.hidden, c.heads, c.heads);
}

absl::Status Check(const ResnetConfig& c) {
  for (const int64_t blocks : c.blocks)
    MOAI_RETURN_IF_ERROR(CheckPositive({{"blocks", blocks, kMaxLayers}}));
  return CheckPositive({{"width", c.width, kMaxHidden},
                        {"channels", c.channels},
                        {"classes", c.classes},
                        {"image", c.image}});
}

absl::Status Check(const T5Config& c) {
  return CheckPositive({{"vocabulary", c.vocabulary},
                        {"hidden", c.hidden, kMaxHidden},
                        {"ffn", c.ffn},
                        {"layers", c.layers, kMaxLayers},
                        {"heads", c.heads, kMaxLayers},
                        {"head_size", c.head_size, kMaxLayers},
                        {"buckets", c.buckets},
                        {"max_distance", c.max_distance},
                        {"source_sequence", c.source_sequence},
                        {"target_sequence", c.target_sequence}});
}

}  // namespace

absl::Status CheckConfig(const ModelConfig& config) {
  return std::visit([](const auto& c) { return Check(c); }, config);
}

}  // namespace moai::models
