// Losses of a batch, as rank 0 tensors.
#ifndef MOAI_CLIENT_NN_LOSS_H_
#define MOAI_CLIENT_NN_LOSS_H_

#include "client/tensor/tensor.h"

namespace moai::nn {

struct CrossEntropyOptions {
  int ignore_index = -100;  // labels of this value count for nothing
  // Computes from a copy of the logits in f32, where they have another dtype.
  bool f32_logits = false;
};

// Mean over the labels that count. logits [..., classes], labels [...] (i32 or i64). f32.
// A label that is neither a class nor ignore_index is an error at the next read, and its step does
// not commit.
Tensor CrossEntropyLoss(const Tensor& logits, const Tensor& labels,
                        const CrossEntropyOptions& options = {});

// Mean of the squared differences.
Tensor MseLoss(const Tensor& prediction, const Tensor& target);

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_LOSS_H_
