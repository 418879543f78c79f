// What layers and models have in common: named parameters and buffers, children, train and eval.
//
// A module registers its tensors and its children once, in its constructor; names of nested ones
// are joined by dots, as PyTorch's state dicts do. Not synchronised; one thread at a time.
#ifndef MOAI_CLIENT_NN_MODULE_H_
#define MOAI_CLIENT_NN_MODULE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "client/tensor/tensor.h"

namespace moai::nn {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  // Children are members: their addresses are registered.
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // Trainable tensors, depth first in the order of registration. A tensor that is registered in two
  // places (tied weights) is listed once, under its first name.
  std::vector<NamedTensor> NamedParameters() const;
  std::vector<Tensor> Parameters() const;
  // Parameters and buffers: everything that saving must keep. Tied ones are listed once.
  std::vector<NamedTensor> StateDict() const;
  // The number of elements of all parameters.
  int64_t ParameterCount() const;

  // Dropout and batch norm behave differently while training. True at first.
  void Train(bool training = true);
  void Eval() { Train(false); }
  bool training() const { return training_; }

  // Converts every floating parameter and buffer.
  void To(Dtype dtype);

  // The first error among the module's tensors.
  absl::Status status() const;

 protected:
  // Makes `initial` trainable state and registers it. The module and its user share the handle.
  Tensor RegisterParameter(std::string name, Tensor initial);
  // State that is saved but not trained.
  Tensor RegisterBuffer(std::string name, Tensor initial);
  // Another name for a tensor that is registered elsewhere too (tied weights).
  void RegisterShared(std::string name, const Tensor& tensor);
  // `child` is a member of this module.
  void RegisterModule(std::string name, Module& child);

 private:
  struct Registered {
    std::string name;
    Tensor tensor;
    bool trainable;
  };
  enum class Which { kParameters, kAll };
  struct Collected {
    std::vector<NamedTensor> found;
    absl::flat_hash_set<const TensorImpl*> listed;
  };
  void Collect(const std::string& prefix, Which which, Collected& collected) const;

  std::vector<Registered> tensors_;
  std::vector<std::pair<std::string, Module*>> children_;
  bool training_ = true;
};

// A module that maps one tensor to another, so that Sequential can hold it.
class Layer : public Module {
 public:
  virtual Tensor Forward(const Tensor& x) = 0;
  Tensor operator()(const Tensor& x) { return Forward(x); }
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_MODULE_H_
