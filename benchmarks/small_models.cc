#include "benchmarks/small_models.h"

#include <cstdint>
#include <random>
#include <utility>

#include "client/models/gpt.h"
#include "client/models/llama.h"
#include "client/models/mixtral.h"
#include "client/models/resnet.h"
#include "client/models/vit.h"

namespace moai {
namespace {

Tensor RandomIds(const Shape& shape, int64_t below, int seed) {
  std::mt19937 random{uint32_t(seed)};
  std::vector<int32_t> ids(size_t(shape.elements()));
  for (int32_t& id : ids) id = int32_t(random() % uint32_t(below));
  return Tensor::FromData(ids, shape);
}

Tensor RandomImages(const Shape& shape, int seed) {
  std::mt19937 random{uint32_t(seed)};
  std::uniform_real_distribution<float> pixel(-1, 1);
  std::vector<float> pixels(size_t(shape.elements()));
  for (float& p : pixels) p = pixel(random);
  return Tensor::FromData(pixels, shape);
}

template <typename Model, typename Config>
SmallModel Language(std::string name, const Config& config, int64_t batch) {
  return {std::move(name), [config, batch]() -> SmallTraining {
            auto model = std::make_shared<Model>(config);
            return {model, [model, config, batch](int step) {
                      const Shape shape = {batch, config.sequence};
                      return model->Loss(RandomIds(shape, config.vocabulary, 2 * step),
                                         RandomIds(shape, config.vocabulary, 2 * step + 1));
                    }};
          }};
}

template <typename Model, typename Config>
SmallModel Vision(std::string name, const Config& config, int64_t batch) {
  return {std::move(name), [config, batch]() -> SmallTraining {
            auto model = std::make_shared<Model>(config);
            return {model, [model, config, batch](int step) {
                      return model->Loss(
                          RandomImages({batch, config.channels, config.image, config.image}, step),
                          RandomIds({batch}, config.classes, step));
                    }};
          }};
}

}  // namespace

std::vector<SmallModel> SmallModels() {
  return {
      Language<models::Llama>(
          "llama",
          models::LlamaConfig{
              .hidden = 128, .ffn = 352, .layers = 4, .heads = 4, .kv_heads = 2, .sequence = 64},
          16),
      Language<models::Llama>(
          "wide",
          models::LlamaConfig{
              .hidden = 384, .ffn = 1024, .layers = 2, .heads = 6, .kv_heads = 2, .sequence = 32},
          8),
      Language<models::Gpt>(
          "gpt", models::GptConfig{.hidden = 160, .layers = 4, .heads = 4, .sequence = 64}, 8),
      Language<models::Mixtral>("mixtral",
                                models::MixtralConfig{.hidden = 96,
                                                      .ffn = 256,
                                                      .layers = 2,
                                                      .heads = 4,
                                                      .kv_heads = 2,
                                                      .experts = 4,
                                                      .sequence = 64,
                                                      .group_size = 128},
                                8),
      Vision<models::Resnet>(
          "resnet",
          models::ResnetConfig{.blocks = {1, 1, 1, 1}, .width = 16, .classes = 16, .image = 64},
          16),
      Vision<models::Vit>(
          "vit",
          models::VitConfig{
              .image = 32, .patch = 4, .classes = 16, .hidden = 128, .layers = 4, .heads = 4},
          16),
  };
}

}  // namespace moai
