#include "client/nn/sequential.h"

#include "absl/strings/str_cat.h"

namespace moai::nn {

void Sequential::Append(std::unique_ptr<Layer> layer) {
  RegisterModule(absl::StrCat(layers_.size()), *layer);
  layers_.push_back(std::move(layer));
}

Tensor Sequential::Forward(const Tensor& x) {
  Tensor y = x;
  for (const std::unique_ptr<Layer>& layer : layers_) y = layer->Forward(y);
  return y;
}

}  // namespace moai::nn
