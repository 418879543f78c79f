#include "client/tensor/record_op.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "client/capture/recorder.h"
#include "client/tensor/record_node.h"

namespace moai {
namespace {

absl::Status RecordVersions(const OpCall& call, absl::Span<Version> outputs) {
  // Closes the graph where it is time, before the operands are looked at.
  if (Recorder* recorder = Recorder::Current().get(); recorder != nullptr) {
    MOAI_RETURN_IF_ERROR(recorder->Begin());
  }
  absl::InlinedVector<NodeInput, 4> inputs;
  for (const Operand& operand : call.inputs) {
    if (operand.tensor == nullptr) {
      inputs.push_back({.dtype = operand.dtype, .number = operand.number});
      continue;
    }
    TensorImpl* impl = operand.tensor->impl();
    if (impl == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(Name(call.op), ": operand ", inputs.size(), " is an undefined tensor"));
    }
    MOAI_ASSIGN_OR_RETURN(const Version* version, ReadVersion(*impl));
    inputs.push_back({.version = version, .ignore_history = impl->detached});
  }
  return RecordNode({.op = call.op,
                     .inputs = inputs,
                     .attributes = call.attributes,
                     .extents = call.extents,
                     .numbers = call.numbers},
                    outputs);
}

// The operand that is poisoned already, if any: its words are the ones to show.
const Tensor* FirstPoisoned(absl::Span<const Operand> inputs) {
  for (const Operand& operand : inputs) {
    if (operand.tensor != nullptr && operand.tensor->defined() && !operand.tensor->ok()) {
      return operand.tensor;
    }
  }
  return nullptr;
}

}  // namespace

void RecordOp(const OpCall& call, absl::Span<Tensor> outputs) {
  absl::InlinedVector<Version, 3> versions(outputs.size());
  const absl::Status status = RecordVersions(call, absl::MakeSpan(versions));
  if (!status.ok()) {
    const Tensor* poisoned = FirstPoisoned(call.inputs);
    const Tensor result = poisoned != nullptr ? *poisoned : PoisonedAt(call.location, status);
    std::fill(outputs.begin(), outputs.end(), result);
    return;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i] = Tensor(NewTensorImpl(std::move(versions[i])));
  }
}

Tensor PoisonedAt(Location location, const absl::Status& status) {
  if (location.line() == 0) return Tensor::Poisoned(status);
  return Tensor::Poisoned(absl::Status(
      status.code(),
      absl::StrCat(status.message(), " (", location.file_name(), ":", location.line(), ")")));
}

std::optional<int> ResolveDim(int dim, int rank) {
  if (dim < -rank || dim >= rank) return std::nullopt;
  return dim < 0 ? dim + rank : dim;
}

std::optional<absl::InlinedVector<int32_t, 4>> ResolveDims(absl::Span<const int> dims, int rank) {
  absl::InlinedVector<int32_t, 4> resolved;
  for (int dim : dims) {
    const std::optional<int> d = ResolveDim(dim, rank);
    if (!d.has_value()) return std::nullopt;
    resolved.push_back(*d);
  }
  std::sort(resolved.begin(), resolved.end());
  if (std::adjacent_find(resolved.begin(), resolved.end()) != resolved.end()) return std::nullopt;
  return resolved;
}

}  // namespace moai
