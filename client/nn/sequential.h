// Layers one after the other, and activations as layers.
#ifndef MOAI_CLIENT_NN_SEQUENTIAL_H_
#define MOAI_CLIENT_NN_SEQUENTIAL_H_

#include <memory>
#include <utility>
#include <vector>

#include "client/nn/module.h"

namespace moai::nn {

// Owns its layers; they are named by position: "0", "1", ...
class Sequential : public Layer {
 public:
  template <typename... Layers>
  explicit Sequential(std::unique_ptr<Layers>... layers) {
    (Append(std::move(layers)), ...);
  }
  void Append(std::unique_ptr<Layer> layer);
  Tensor Forward(const Tensor& x) override;

  size_t size() const { return layers_.size(); }
  Layer& operator[](size_t position) { return *layers_[position]; }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
};

// A layer without state, from a function of tensors: Activation(Relu).
class Activation : public Layer {
 public:
  explicit Activation(Tensor (*function)(const Tensor&)) : function_(function) {}
  Tensor Forward(const Tensor& x) override { return function_(x); }

 private:
  Tensor (*function_)(const Tensor&);
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_SEQUENTIAL_H_
