#include "client/nn/moe.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/nn/initial.h"
#include "client/tensor/ops.h"

namespace moai::nn {

MixtureOfExperts::MixtureOfExperts(const MoeConfig& config)
    : config_(config),
      router_(config.hidden, config.experts, {.bias = false, .init_stddev = config.init_stddev}) {
  const Shape in = {config.experts, config.hidden, config.ffn};
  const Shape out = {config.experts, config.ffn, config.hidden};
  RegisterModule("router", router_);
  gate_ = RegisterParameter("gate", NormalWith(in, config.init_stddev, Dtype::kF32));
  up_ = RegisterParameter("up", NormalWith(in, config.init_stddev, Dtype::kF32));
  down_ = RegisterParameter("down", NormalWith(out, config.init_stddev, Dtype::kF32));
}

int64_t MixtureOfExperts::GroupSize(int64_t sequence) const {
  int64_t size = std::clamp<int64_t>(config_.group_size, 1, std::max<int64_t>(1, sequence));
  while (sequence % size != 0) --size;
  return size;
}

int64_t MixtureOfExperts::Capacity(int64_t group_size) const {
  const double even =
      static_cast<double>(group_size * config_.top_k) / static_cast<double>(config_.experts);
  const int64_t capacity = static_cast<int64_t>(std::ceil(even * config_.capacity_factor));
  // A token chooses an expert once at most.
  return std::clamp<int64_t>(capacity, 1, group_size);
}

MixtureOfExperts::Routing MixtureOfExperts::Route(const Tensor& x, int64_t capacity) {
  const Tensor probabilities = Softmax(router_(x).To(Dtype::kF32));
  const Tensor choices = TopK(probabilities.Detach(), config_.top_k, -1).positions;
  const Tensor experts = Arange(config_.experts);
  Tensor taken;   // [g, 1, e]: places given to the choices before
  Tensor chosen;  // [g, s, e]
  Tensor place;   // [g, s, e]: of the chosen, the place in line
  for (int64_t k = 0; k < config_.top_k; ++k) {
    const Tensor choice = Eq(choices.Narrow(2, k, 1), experts).To(Dtype::kI32);
    Tensor before = Sub(Cumsum(choice, 1), choice);
    if (k > 0) before = Add(before, taken);
    const Tensor own = Mul(before, choice);
    const Tensor count = Sum(choice, {1}, Dims::kKeep);
    taken = k > 0 ? Add(taken, count) : count;
    chosen = k > 0 ? Add(chosen, choice) : choice;
    place = k > 0 ? Add(place, own) : own;
  }
  const Tensor fits = And(Gt(chosen, 0), Lt(place, static_cast<double>(capacity)));
  const Tensor liked = Mul(probabilities, chosen.To(Dtype::kF32));
  // Sums and a division by what is known, not means: sums may be split.
  const double tokens = static_cast<double>(x.size(1));
  const Tensor share =
      Mul(taken.To(Dtype::kF32), 1 / (tokens * static_cast<double>(config_.top_k)));
  const Tensor mean = Mul(Sum(probabilities, {1}, Dims::kKeep), 1 / tokens);
  return {.slot = Where(fits, place, Tensor::FromNumber(-1, Dtype::kI32)),
          .gates = Div(liked, Sum(liked, {2}, Dims::kKeep)),
          .balance_loss = Mul(Sum(Mul(share, mean)), static_cast<double>(config_.experts) /
                                                         static_cast<double>(x.size(0)))};
}

Tensor MixtureOfExperts::RunExperts(const Tensor& rows) {
  const Tensor inner = Mul(Silu(Matmul(rows, gate_)), Matmul(rows, up_));
  return Matmul(inner, down_);
}

MoeResult MixtureOfExperts::Forward(const Tensor& input) {
  if (!input.ok()) return {input, input};
  if (input.rank() != 3 || config_.top_k < 1 || config_.top_k > config_.experts) {
    const Tensor poisoned = Tensor::Poisoned(absl::InvalidArgumentError(absl::StrCat(
        "MixtureOfExperts takes a tensor of 3 dims (batch, sequence, hidden) and chooses 1 to ",
        config_.experts, " experts; got ", ToString(input.type()), " and top_k ", config_.top_k)));
    return {poisoned, poisoned};
  }
  const int64_t experts = config_.experts, hidden = config_.hidden;
  const int64_t tokens = GroupSize(input.size(1));
  const int64_t groups = input.size(0) * (input.size(1) / tokens);
  const int64_t capacity = Capacity(tokens);
  const Tensor x = input.Reshape({groups, tokens, hidden});
  const Routing routing = Route(x, capacity);

  // [g, s, e, c]: 1 where the token has that place of that expert.
  const Tensor dispatch =
      Eq(routing.slot.Unsqueeze(3), Arange(capacity, Dtype::kI32)).To(x.dtype());
  const Tensor combine = Mul(dispatch, routing.gates.To(x.dtype()).Unsqueeze(3));
  const Shape by_place = {groups, tokens, experts * capacity};
  const Tensor sent = Matmul(dispatch.Reshape(by_place), x, {.transpose_a = true});
  const Tensor rows = sent.Reshape({groups, experts, capacity, hidden})
                          .Transpose(0, 1)
                          .Reshape({experts, groups * capacity, hidden});
  const Tensor results = RunExperts(rows)
                             .Reshape({experts, groups, capacity, hidden})
                             .Transpose(0, 1)
                             .Reshape({groups, experts * capacity, hidden});
  return {.y = Matmul(combine.Reshape(by_place), results).Reshape(input.shape()),
          .balance_loss = routing.balance_loss};
}

}  // namespace moai::nn
