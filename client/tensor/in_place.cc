// The in-place ops of a tensor: each computes a new version, then writes it.
#include <utility>

#include "base/status.h"
#include "client/tensor/ops.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

// Makes `result`, cast and broadcast to the tensor, its content.
absl::Status Write(Tensor& tensor, const Tensor& result) {
  const Tensor fitted = result.To(tensor.dtype()).Expand(tensor.shape());
  MOAI_RETURN_IF_ERROR(fitted.status());
  MOAI_ASSIGN_OR_RETURN(const Version* version, ReadVersion(*fitted.impl()));
  Version content = *version;
  if (fitted.impl()->detached || !GradEnabled()) content.edge = Edge();
  return WriteVersion(*tensor.impl(), std::move(content));
}

Tensor& Apply(Tensor& tensor, const Tensor& result) {
  if (!tensor.ok()) return tensor;
  if (absl::Status status = Write(tensor, result); !status.ok()) {
    tensor.impl()->error = std::move(status);
  }
  return tensor;
}

}  // namespace

Tensor& Tensor::Copy_(const Tensor& other) { return Apply(*this, other); }
Tensor& Tensor::Fill_(double number) { return Apply(*this, Full(shape(), number, dtype())); }
Tensor& Tensor::Add_(const Tensor& other) { return Apply(*this, Add(*this, other)); }
Tensor& Tensor::Sub_(const Tensor& other) { return Apply(*this, Sub(*this, other)); }
Tensor& Tensor::Mul_(const Tensor& other) { return Apply(*this, Mul(*this, other)); }
Tensor& Tensor::Div_(const Tensor& other) { return Apply(*this, Div(*this, other)); }
Tensor& Tensor::Add_(double number) { return Apply(*this, Add(*this, number)); }
Tensor& Tensor::Mul_(double number) { return Apply(*this, Mul(*this, number)); }

}  // namespace moai
