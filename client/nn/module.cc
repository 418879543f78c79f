#include "client/nn/module.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/autograd/grad_node.h"

namespace moai::nn {

void Module::Collect(const std::string& prefix, Which which, Collected& collected) const {
  for (const Registered& entry : tensors_) {
    if (which == Which::kParameters && !entry.trainable) continue;
    if (!collected.listed.insert(entry.tensor.impl()).second) continue;
    collected.found.push_back({absl::StrCat(prefix, entry.name), entry.tensor});
  }
  for (const auto& [name, child] : children_) {
    child->Collect(absl::StrCat(prefix, name, "."), which, collected);
  }
}

std::vector<NamedTensor> Module::NamedParameters() const {
  Collected collected;
  Collect("", Which::kParameters, collected);
  return std::move(collected.found);
}

std::vector<Tensor> Module::Parameters() const {
  std::vector<Tensor> tensors;
  for (NamedTensor& parameter : NamedParameters()) tensors.push_back(std::move(parameter.tensor));
  return tensors;
}

std::vector<NamedTensor> Module::StateDict() const {
  Collected collected;
  Collect("", Which::kAll, collected);
  return std::move(collected.found);
}

int64_t Module::ParameterCount() const {
  int64_t count = 0;
  for (const Tensor& parameter : Parameters()) count += parameter.elements();
  return count;
}

void Module::Train(bool training) {
  training_ = training;
  for (const auto& [name, child] : children_) child->Train(training);
}

void Module::To(Dtype dtype) {
  const NoGradGuard no_grad;
  for (NamedTensor& entry : StateDict()) {
    if (!IsFloat(entry.tensor.dtype()) || entry.tensor.dtype() == dtype) continue;
    const bool trainable = entry.tensor.requires_grad();
    Tensor converted = entry.tensor.To(dtype).Clone();
    converted.MakeState();
    entry.tensor.SetData(converted);
    if (trainable) entry.tensor.RequiresGrad();
  }
}

absl::Status Module::status() const {
  for (const NamedTensor& entry : StateDict()) {
    if (entry.tensor.ok()) continue;
    const absl::Status status = entry.tensor.status();
    return absl::Status(status.code(), absl::StrCat(entry.name, ": ", status.message()));
  }
  return absl::OkStatus();
}

Tensor Module::RegisterParameter(std::string name, Tensor initial) {
  initial.MakeState();
  initial.RequiresGrad();
  tensors_.push_back({std::move(name), initial, /*trainable=*/true});
  return initial;
}

Tensor Module::RegisterBuffer(std::string name, Tensor initial) {
  initial.MakeState();
  tensors_.push_back({std::move(name), initial, /*trainable=*/false});
  return initial;
}

void Module::RegisterShared(std::string name, const Tensor& tensor) {
  tensors_.push_back({std::move(name), tensor, tensor.requires_grad()});
}

void Module::RegisterModule(std::string name, Module& child) {
  children_.emplace_back(std::move(name), &child);
}

}  // namespace moai::nn
