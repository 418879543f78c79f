#include "client/nn/loss.h"

#include "client/tensor/ops.h"

namespace moai::nn {

Tensor CrossEntropyLoss(const Tensor& logits, const Tensor& labels,
                        const CrossEntropyOptions& options) {
  if (!logits.ok()) return logits;
  if (!labels.ok()) return labels;
  if (logits.rank() < 1) {
    return Tensor::Poisoned(
        absl::InvalidArgumentError("CrossEntropyLoss: logits need a dim of classes"));
  }
  const Tensor flat = labels.Reshape({-1});
  const Tensor read = options.f32_logits ? logits.To(Dtype::kF32) : logits;
  const Tensor rows =
      CrossEntropyRows(read.Reshape({-1, logits.size(-1)}), flat, options.ignore_index);
  const Tensor counted = Sum(Ne(flat, options.ignore_index).To(rows.dtype()));
  return Div(Sum(rows), counted);
}

Tensor MseLoss(const Tensor& prediction, const Tensor& target) {
  const Tensor difference = Sub(prediction, target);
  return Mean(Mul(difference, difference));
}

}  // namespace moai::nn
