#include "client/tensor/tensor.h"

#include <utility>

#include "base/status.h"
#include "client/capture/number_bytes.h"
#include "client/capture/recorder.h"
#include "client/tensor/ops.h"
#include "client/tensor/record_node.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

// A tensor with the content of `tensor`, in a storage of its own.
Tensor Duplicate(const Tensor& tensor, bool with_history) {
  const absl::StatusOr<const Version*> version = ReadVersion(*tensor.impl());
  if (!version.ok()) return Tensor::Poisoned(version.status());
  Version content = **version;
  if (!with_history || tensor.impl()->detached) content.edge = Edge();
  return Tensor(NewTensorImpl(std::move(content)));
}

// Casts of state (weights in mixed precision) are made once per version, and shared.
Tensor SharedCast(const Tensor& tensor, Dtype dtype) {
  TensorImpl& impl = *tensor.impl();
  Storage& storage = *impl.storage;
  const int32_t attributes[] = {static_cast<int32_t>(dtype)};
  if (!storage.cast || storage.cast->type().dtype != dtype) {
    const Tensor made = RecordOp1(Op::kCast, {tensor}, {}, attributes);
    if (made.ok()) storage.cast = made.impl()->storage->current.value;
    return made;
  }
  const NodeInput inputs[] = {{.version = &storage.current, .ignore_history = impl.detached}};
  Version content = {.value = storage.cast};
  RecordHistory({.op = Op::kCast, .inputs = inputs, .attributes = attributes},
                absl::MakeSpan(&content, 1));
  return Tensor(NewTensorImpl(std::move(content)));
}

}  // namespace

Tensor Tensor::FromCopy(const void* elements, size_t bytes, const TensorType& type,
                        Location location) {
  auto owner = std::make_shared<std::vector<std::byte>>(bytes);
  if (bytes > 0) std::memcpy(owner->data(), elements, bytes);
  const absl::Span<const std::byte> span(*owner);
  return FromBytes(type, {.bytes = span, .owner = std::move(owner)}, location);
}

Tensor Tensor::FromBytes(const TensorType& type, SharedBytes bytes, Location location) {
  if (!WithinLimits(type.shape) || type.bytes() != static_cast<int64_t>(bytes.bytes.size())) {
    return InvalidAt(location, bytes.bytes.size(), " bytes are no ", ToString(type));
  }
  return Tensor(NewTensorImpl({.value = LazyValue::FromBytes(type, std::move(bytes))}));
}

Tensor Tensor::FromNumber(double number, Dtype dtype) {
  return Tensor(NewTensorImpl({.value = LazyValue::FromNumber(dtype, NumberOf(dtype, number))}));
}

Tensor Tensor::Poisoned(absl::Status status) {
  Ref<TensorImpl> impl(new TensorImpl());
  impl->error = std::move(status);
  return Tensor(std::move(impl));
}

absl::Status Tensor::status() const {
  if (!impl_) return absl::FailedPreconditionError("the tensor is undefined");
  return impl_->error;
}

const TensorType& Tensor::type() const {
  static const TensorType* const kNothing = new TensorType();
  return impl_ ? impl_->type : *kNothing;
}

bool Tensor::SharesStorage(const Tensor& other) const {
  return ok() && other.ok() && impl_->storage == other.impl_->storage;
}

// ---- Reading

absl::Status Tensor::ReadBytes(absl::Span<std::byte> destination, Location location) const {
  MOAI_RETURN_IF_ERROR(status());
  const Ref<Recorder>& recorder = Recorder::Current();
  if (!recorder)
    return absl::FailedPreconditionError(
        "this thread has no accelerator; call Accelerator::Connect first");
  MOAI_ASSIGN_OR_RETURN(const Version* version, ReadVersion(*impl_));
  const Ref<LazyValue> value = version->value;  // keeps it through the flush
  return recorder->Read(value.get(), destination, location);
}

absl::Status Tensor::CheckReadable(Dtype as) const {
  MOAI_RETURN_IF_ERROR(status());
  const bool half = dtype() == Dtype::kBF16 || dtype() == Dtype::kF16;
  const Dtype native = half ? Dtype::kF32 : dtype() == Dtype::kBool ? Dtype::kU8 : dtype();
  if (as == native) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a tensor of ", Name(dtype()), " is read as ",
                                                 Name(native), ", not ", Name(as)));
}

absl::StatusOr<double> Tensor::Item(Location location) const {
  MOAI_RETURN_IF_ERROR(status());
  if (elements() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("Item reads a tensor of one element, this is ", ToString(type())));
  }
  switch (dtype()) {
    case Dtype::kF64: {
      MOAI_ASSIGN_OR_RETURN(const std::vector<double> elements, ToVector<double>(location));
      return elements[0];
    }
    case Dtype::kF32:
    case Dtype::kBF16:
    case Dtype::kF16: {
      MOAI_ASSIGN_OR_RETURN(const std::vector<float> elements, ToVector<float>(location));
      return elements[0];
    }
    case Dtype::kI64: {
      MOAI_ASSIGN_OR_RETURN(const std::vector<int64_t> elements, ToVector<int64_t>(location));
      return static_cast<double>(elements[0]);
    }
    case Dtype::kI32: {
      MOAI_ASSIGN_OR_RETURN(const std::vector<int32_t> elements, ToVector<int32_t>(location));
      return elements[0];
    }
    case Dtype::kU8:
    case Dtype::kBool: {
      MOAI_ASSIGN_OR_RETURN(const std::vector<uint8_t> elements, ToVector<uint8_t>(location));
      return elements[0];
    }
  }
  return absl::InternalError("a tensor of no dtype");
}

// ---- Other forms of the same elements

Tensor Tensor::To(Dtype dtype) const {
  if (!ok() || dtype == this->dtype()) return *this;
  if (impl_->storage->slot && !impl_->view) return SharedCast(*this, dtype);
  const int32_t attributes[] = {static_cast<int32_t>(dtype)};
  return RecordOp1(Op::kCast, {*this}, {}, attributes);
}

Tensor Tensor::Clone() const { return ok() ? Duplicate(*this, GradEnabled()) : *this; }

Tensor Tensor::Detach() const {
  if (!ok()) return *this;
  Ref<TensorImpl> impl(new TensorImpl());
  impl->storage = impl_->storage;
  impl->view = impl_->view;
  impl->type = impl_->type;
  impl->detached = true;
  return Tensor(std::move(impl));
}

// ---- State

Tensor& Tensor::MakeState() {
  if (!ok() || impl_->storage->slot) return *this;
  Storage& storage = *impl_->storage;
  absl::Status status;
  if (impl_->view) {
    status = absl::InvalidArgumentError("MakeState: a view is no state; Clone() it first");
  } else if (const Ref<Recorder>& recorder = Recorder::Current(); !recorder) {
    status = absl::FailedPreconditionError("MakeState: this thread has no accelerator");
  } else {
    const Ref<Slot> slot = recorder->NewSlot(impl_->type);
    absl::StatusOr<Ref<LazyValue>> value = recorder->Assign(slot, storage.current.value);
    status = value.status();
    if (status.ok()) {
      storage.slot = slot;
      storage.current.value = *std::move(value);
    }
  }
  if (!status.ok()) impl_->error = status;
  return *this;
}

void Tensor::SetData(const Tensor& other) {
  impl_->storage = other.impl_->storage;
  impl_->view = other.impl_->view;
  impl_->type = other.impl_->type;
  impl_->detached = other.impl_->detached;
  impl_->error = other.impl_->error;
}

}  // namespace moai
