// Mixed precision: matmuls, convolutions and attention in a 16-bit dtype, master weights in f32.
#ifndef MOAI_CLIENT_TENSOR_AUTOCAST_H_
#define MOAI_CLIENT_TENSOR_AUTOCAST_H_

#include <optional>

#include "client/tensor/tensor.h"

namespace moai {

// While it lives, Matmul, Conv2d and Attention of this thread run in `dtype`, and so do the results
// of Embedding. Weights that are state are cast once for each of their versions. Norms keep f32
// statistics and weights; losses are f32.
class Autocast {
 public:
  explicit Autocast(Dtype dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

  // The dtype of the innermost guard.
  static std::optional<Dtype> Current();

 private:
  std::optional<Dtype> before_;
};

// `x` in the dtype of the guard, if there is one and x is floating.
Tensor Autocasted(const Tensor& x);

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_AUTOCAST_H_
