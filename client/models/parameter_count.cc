// How many trained numbers a config makes, by formula: a test holds it against the models.
#include <variant>

#include "client/models/catalog.h"

namespace moai::models {
namespace {

int64_t OrFourTimes(int64_t ffn, int64_t hidden) { return ffn > 0 ? ffn : 4 * hidden; }

// Projections q, k, v, o without biases.
int64_t AttentionWeights(int64_t hidden, int64_t heads, int64_t kv_heads) {
  const int64_t keys = hidden / heads * (kv_heads > 0 ? kv_heads : heads);
  return 2 * hidden * hidden + 2 * hidden * keys;
}

// A TransformerBlock.
int64_t BlockParameters(int64_t hidden, int64_t ffn, int64_t heads, int64_t kv_heads, bool bias) {
  const int64_t norms = 4 * hidden;
  const int64_t keys = hidden / heads * (kv_heads > 0 ? kv_heads : heads);
  const int64_t biases = bias ? 2 * hidden + 2 * keys + ffn + hidden : 0;
  return norms + AttentionWeights(hidden, heads, kv_heads) + 2 * hidden * ffn + biases;
}

int64_t Count(const LlamaConfig& c) {
  const int64_t block =
      2 * c.hidden + AttentionWeights(c.hidden, c.heads, c.kv_heads) + 3 * c.hidden * c.ffn;
  return 2 * c.vocabulary * c.hidden + c.layers * block + c.hidden;
}

int64_t Count(const GptConfig& c) {
  const int64_t tables =
      c.vocabulary * c.hidden * (c.tied_head ? 1 : 2) + (c.rotary ? 0 : c.sequence * c.hidden);
  return tables + 2 * c.hidden +
         c.layers *
             BlockParameters(c.hidden, OrFourTimes(c.ffn, c.hidden), c.heads, c.kv_heads, c.bias);
}

int64_t Count(const MixtralConfig& c) {
  const int64_t block = 2 * c.hidden + AttentionWeights(c.hidden, c.heads, c.kv_heads) +
                        c.experts * (c.hidden + 3 * c.hidden * c.ffn);
  return 2 * c.vocabulary * c.hidden + c.layers * block + c.hidden;
}

int64_t Count(const VitConfig& c) {
  const int64_t side = c.image / c.patch;
  const int64_t patches = c.hidden * (c.channels * c.patch * c.patch + 1);
  const int64_t tokens = c.hidden * (2 + side * side);  // class token and positions
  const int64_t head = 2 * c.hidden + c.classes * (c.hidden + 1);
  return patches + tokens + head +
         c.layers * BlockParameters(c.hidden, OrFourTimes(c.ffn, c.hidden), c.heads, 0, true);
}

// A convolution and the norm after it.
int64_t NormedConv(int64_t in, int64_t out, int64_t size) {
  return in * out * size * size + 2 * out;
}

int64_t Count(const ResnetConfig& c) {
  int64_t count = NormedConv(c.channels, c.width, 7);
  int64_t in = c.width;
  for (size_t stage = 0; stage < c.blocks.size(); ++stage) {
    const int64_t inner = c.width << stage;
    const int64_t out = c.bottleneck ? 4 * inner : inner;
    for (int64_t i = 0; i < c.blocks[stage]; ++i) {
      count += c.bottleneck ? NormedConv(in, inner, 1) + NormedConv(inner, inner, 3) +
                                  NormedConv(inner, out, 1)
                            : NormedConv(in, inner, 3) + NormedConv(inner, out, 3);
      if (in != out || (stage > 0 && i == 0)) count += NormedConv(in, out, 1);
      in = out;
    }
  }
  return count + c.classes * ((c.bottleneck ? 32 : 8) * c.width + 1);
}

int64_t Count(const T5Config& c) {
  const int64_t attention = 4 * c.hidden * c.heads * c.head_size;
  const int64_t ffn = (c.gated ? 3 : 2) * c.hidden * c.ffn;
  const int64_t encoder = c.layers * (2 * c.hidden + attention + ffn);
  const int64_t decoder = c.layers * (3 * c.hidden + 2 * attention + ffn);
  const int64_t ends = 2 * (c.buckets * c.heads + c.hidden);
  return c.vocabulary * c.hidden * (c.tied_head ? 1 : 2) + encoder + decoder + ends;
}

}  // namespace

int64_t ParameterCount(const ModelConfig& config) {
  return std::visit([](const auto& c) { return Count(c); }, config);
}

}  // namespace moai::models
