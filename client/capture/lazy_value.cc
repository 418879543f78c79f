#include "client/capture/lazy_value.h"

#include <utility>

#include "client/capture/recorder.h"

namespace moai {

Slot::Slot(Ref<Recorder> recorder, const TensorType& type)
    : recorder_(std::move(recorder)), type_(type), id_(recorder_->session().NewIds(1)) {}

Slot::~Slot() {
  CancelAssignment();
  recorder_->Release(id_);
}

void Slot::CancelAssignment() {
  if (!next_) return;
  next_->claimed_by_ = nullptr;
  recorder_->ForgetDirty(this);
  next_ = nullptr;
}

LazyValue::LazyValue(State state, const TensorType& type) : type_(type), state_(state) {}

LazyValue::~LazyValue() {
  switch (state_) {
    case State::kPending:
      recorder_->Unregister(this);
      break;
    case State::kObject:
      recorder_->Release(object_);
      break;
    case State::kSlot:
      if (slot_->content_ == this) slot_->content_ = nullptr;
      break;
    case State::kBytes:
    case State::kNumber:
    case State::kDropped:
    case State::kLost:
      break;
  }
}

Ref<LazyValue> LazyValue::FromBytes(const TensorType& type, SharedBytes bytes) {
  Ref<LazyValue> value(new LazyValue(State::kBytes, type));
  value->bytes_ = std::make_unique<SharedBytes>(std::move(bytes));
  return value;
}

Ref<LazyValue> LazyValue::FromNumber(Dtype dtype, Scalar number) {
  Ref<LazyValue> value(new LazyValue(State::kNumber, {.dtype = dtype}));
  value->number_ = number;
  return value;
}

}  // namespace moai
