// An encoder-decoder language model (Raffel et al., arXiv 1910.10683): RMSNorm before each part,
// learned biases of the attention scores by relative position, unscaled scores, no other biases.
// The biases have gradients, so attention is made of matrix products and a softmax here.
#ifndef MOAI_CLIENT_MODELS_T5_H_
#define MOAI_CLIENT_MODELS_T5_H_

#include <memory>
#include <vector>

#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"

namespace moai::models {

struct T5Config {
  int64_t vocabulary = 32128;
  int64_t hidden = 512;
  int64_t ffn = 2048;
  int64_t layers = 6;  // of the encoder, and of the decoder
  int64_t heads = 8;
  int64_t head_size = 64;
  int64_t buckets = 32;  // of relative positions
  int64_t max_distance = 128;
  int64_t source_sequence = 512;  // the longest inputs
  int64_t target_sequence = 128;
  bool gated = false;     // GELU-gated feed-forward part, as in T5 1.1; else ReLU
  bool tied_head = true;  // false in T5 1.1
  double dropout = 0;
};

class T5Attention : public nn::Module {
 public:
  explicit T5Attention(const T5Config& config);
  // x [batch, s, hidden] looks at memory [batch, t, hidden]. `bias` [heads, s, t] f32 is added to
  // the scores; undefined for none.
  Tensor Forward(const Tensor& x, const Tensor& memory, const Tensor& bias);

 private:
  // [batch, sequence, heads * head size] -> [batch, heads, sequence, head size].
  Tensor SplitHeads(const Tensor& x) const;

  int64_t heads_;
  int64_t head_size_;
  nn::Linear q_;
  nn::Linear k_;
  nn::Linear v_;
  nn::Linear o_;
  nn::Dropout dropout_;
};

class T5FeedForward : public nn::Layer {
 public:
  explicit T5FeedForward(const T5Config& config);
  Tensor Forward(const Tensor& x) override;

 private:
  std::unique_ptr<nn::Linear> gate_;  // null where it is not gated
  nn::Linear up_;
  nn::Linear down_;
  nn::Dropout dropout_;
};

enum class T5Side : uint8_t { kEncoder, kDecoder };

class T5Block : public nn::Module {
 public:
  T5Block(const T5Config& config, T5Side side);
  // `memory` is the encoder's result; undefined in the encoder.
  Tensor Forward(const Tensor& x, const Tensor& bias, const Tensor& memory);

 private:
  nn::RmsNorm self_norm_;
  T5Attention self_;
  std::unique_ptr<nn::RmsNorm> cross_norm_;
  std::unique_ptr<T5Attention> cross_;
  nn::RmsNorm ffn_norm_;
  T5FeedForward ffn_;
  nn::Dropout dropout_;
};

// The blocks of one side, with the biases that they share.
class T5Stack : public nn::Module {
 public:
  T5Stack(const T5Config& config, T5Side side);
  // x [batch, sequence, hidden].
  Tensor Forward(const Tensor& x, const Tensor& memory);

 private:
  // [heads, length, length]; hides later keys in the decoder.
  Tensor Bias(int64_t length);

  T5Side side_;
  Tensor buckets_;  // [sequence, sequence] i32: of each query and key
  nn::Embedding bias_;
  std::vector<std::unique_ptr<T5Block>> blocks_;
  nn::RmsNorm norm_;
  nn::Dropout dropout_;
};

class T5 : public nn::Module {
 public:
  explicit T5(const T5Config& config);

  // source [batch, s], target [batch, t] (i32 or i64): what the decoder sees, that is the labels
  // moved right by one -> logits [batch, t, vocabulary].
  Tensor Forward(const Tensor& source, const Tensor& target);
  // Mean cross-entropy. labels [batch, t].
  Tensor Loss(const Tensor& source, const Tensor& target, const Tensor& labels);

  const T5Config& config() const { return config_; }

 private:
  T5Config config_;
  nn::Embedding embedding_;
  T5Stack encoder_;
  T5Stack decoder_;
  std::unique_ptr<nn::Linear> head_;  // null where it is tied
};

// The bucket of each (query, key) pair, [length, length] i32: small distances have buckets of
// their own, larger ones share them logarithmically up to max_distance. The encoder's buckets tell
// earlier keys from later ones; the decoder's see earlier keys only.
Tensor RelativeBuckets(int64_t length, T5Side side, int64_t buckets, int64_t max_distance);

}  // namespace moai::models

#endif  // MOAI_CLIENT_MODELS_T5_H_
