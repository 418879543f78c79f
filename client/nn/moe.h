// A mixture of experts: each token goes to the few experts that a router likes best.
//
// Dispatch is GShard's (Lepikhin et al., arXiv 2006.16668): tokens are taken in groups, and within
// a group each expert has room for `capacity` tokens. First choices of all tokens come before
// second ones, earlier tokens before later ones; a token that finds its expert full is dropped
// there, as in Switch Transformers (Fedus et al., arXiv 2101.03961): the experts that took it make
// its result, and where none did the result is 0, so that the residual stream passes it on
// unchanged.
//
// Everything is a matrix product or a pointwise op with the dims group, token, expert, capacity and
// hidden kept apart, so that each of them can be split over devices. Groups never look at each
// other: splitting a batch changes no result.
#ifndef MOAI_CLIENT_NN_MOE_H_
#define MOAI_CLIENT_NN_MOE_H_

#include <cstdint>

#include "client/nn/linear.h"
#include "client/nn/module.h"

namespace moai::nn {

struct MoeConfig {
  int64_t hidden = 0;
  int64_t ffn = 0;  // of one expert
  int64_t experts = 8;
  int64_t top_k = 2;
  // Room of an expert, relative to an even distribution of the tokens. experts / top_k or more
  // never drops a token.
  double capacity_factor = 1.25;
  // Tokens of a group: at most this many, and a divisor of the sequence. The masks of a group take
  // tokens x experts x capacity elements.
  int64_t group_size = 1024;
  double init_stddev = 0.02;
};

struct MoeResult {
  Tensor y;  // like the input
  // The load-balancing loss of GShard and Switch, rank 0 f32: experts * the sum over experts of
  // (share of the choices) * (mean probability), the mean of all groups. 1 where both are even.
  Tensor balance_loss;
};

// SwiGLU experts without biases. Weights of the chosen experts' results are their probabilities,
// scaled so that they add up to 1 (before dropping), as in Mixtral (Jiang et al., arXiv
// 2401.04088).
class MixtureOfExperts : public Module {
 public:
  // Requires 1 <= top_k <= experts; otherwise Forward's results are poisoned.
  explicit MixtureOfExperts(const MoeConfig& config);

  // x [batch, sequence, hidden].
  MoeResult Forward(const Tensor& x);

  // Tokens of a group, and of an expert in it, for a sequence of this length.
  int64_t GroupSize(int64_t sequence) const;
  int64_t Capacity(int64_t group_size) const;

 private:
  struct Routing {
    Tensor slot;   // [g, s, e] i32: the token's place in the expert, or -1
    Tensor gates;  // [g, s, e] f32: weight of the expert's result, 0 where it was not chosen
    Tensor balance_loss;
  };
  Routing Route(const Tensor& x, int64_t capacity);
  // [experts, rows, hidden] -> the same, each expert with weights of its own.
  Tensor RunExperts(const Tensor& rows);

  MoeConfig config_;
  Linear router_;
  Tensor gate_;  // [experts, hidden, ffn]
  Tensor up_;    // [experts, hidden, ffn]
  Tensor down_;  // [experts, ffn, hidden]
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_MOE_H_
