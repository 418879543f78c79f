// Multi-head attention with grouped heads and, if wanted, rotary positions.
#ifndef MOAI_CLIENT_NN_ATTENTION_H_
#define MOAI_CLIENT_NN_ATTENTION_H_

#include <cstdint>
#include <memory>

#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/module.h"

namespace moai::nn {

// Cosines and sines of rotary positions (Su et al., arXiv 2104.09864): angle of position s and pair
// e is s * base^(-2e / head size).
struct RotaryTables {
  Tensor cosine;  // [sequence, head size / 2]
  Tensor sine;
};
RotaryTables MakeRotaryTables(int64_t sequence, int64_t head_size, double base = 10000);

struct AttentionConfig {
  int64_t hidden = 0;
  int64_t heads = 1;
  int64_t kv_heads = 0;  // 0: as many as heads; otherwise divides heads
  bool causal = false;
  bool bias = true;
  LinearOptions linear;  // dtype and initial values of the projections
  // One kernel that keeps no weights. Otherwise two products and a softmax, with a matrix of
  // weights for each head between them, of which `dropout` is dropped.
  bool fused = true;
  double dropout = 0;  // where not fused
};

// x [batch, sequence, hidden]. Heads stay where the projections put them ([batch, sequence, heads,
// head size]), so that nothing is transposed.
class MultiHeadAttention : public Layer {
 public:
  // Requires heads to divide hidden and kv_heads to divide heads; otherwise Forward's result is
  // poisoned.
  explicit MultiHeadAttention(const AttentionConfig& config);
  Tensor Forward(const Tensor& x) override;
  Tensor Forward(const Tensor& x, const RotaryTables* rotary);

 private:
  // [batch, sequence, heads, head size] each, with kv_heads for k and v.
  Tensor AttendByProducts(const Tensor& q, const Tensor& k, const Tensor& v);

  AttentionConfig config_;
  int64_t head_size_;
  Linear q_;
  Linear k_;
  Linear v_;
  Linear o_;
  std::unique_ptr<Dropout> dropout_;  // null where fused
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_ATTENTION_H_
