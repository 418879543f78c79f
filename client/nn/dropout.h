// Dropout: while training, zeroes elements with a probability and scales up the rest.
#ifndef MOAI_CLIENT_NN_DROPOUT_H_
#define MOAI_CLIENT_NN_DROPOUT_H_

#include "client/nn/module.h"
#include "client/tensor/random.h"

namespace moai::nn {

class Dropout : public Layer {
 public:
  // `probability` of an element to be dropped, in [0, 1).
  explicit Dropout(double probability) : probability_(probability) {}
  Tensor Forward(const Tensor& x) override;

 private:
  double probability_;
  RandomStream random_;
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_DROPOUT_H_
