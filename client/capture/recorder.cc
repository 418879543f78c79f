#include "client/capture/recorder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/capture/number_bytes.h"

namespace moai {
namespace {

Ref<Recorder>& CurrentRecorder() {
  static thread_local Ref<Recorder> current;
  return current;
}

}  // namespace

Ref<Recorder> Recorder::Create(std::shared_ptr<Session> session, const RecorderOptions& options) {
  return Ref<Recorder>(new Recorder(std::move(session), options));
}

Recorder::~Recorder() { SendReleases(); }

const Ref<Recorder>& Recorder::Current() { return CurrentRecorder(); }

void Recorder::SetCurrent(Ref<Recorder> recorder) { CurrentRecorder() = std::move(recorder); }

// ---- Recording

ValueId Recorder::Number(Dtype dtype, double number) {
  scalars_.push_back(NumberOf(dtype, number));
  return builder_.AddScalar(dtype);
}

Ref<LazyValue> Recorder::NewValue(ValueId id) {
  Ref<LazyValue> value(new LazyValue(LazyValue::State::kPending, builder_.type(id)));
  value->recorder_ = Ref<Recorder>(this);
  value->bound_in_ = generation_;
  value->id_ = id;
  Register(value.get());
  return value;
}

void Recorder::Register(LazyValue* value) {
  value->live_index_ = static_cast<uint32_t>(live_.size());
  live_.push_back(value);
}

absl::StatusOr<ValueId> Recorder::Bind(LazyValue* value) {
  using State = LazyValue::State;
  const bool client_side = value->state_ == State::kBytes || value->state_ == State::kNumber;
  const Recorder* owner =
      value->state_ == State::kSlot ? value->slot_->recorder_.get() : value->recorder_.get();
  if (value->state_ == State::kLost) {
    return absl::FailedPreconditionError("the value was lost when its session ended");
  }
  if (!client_side && owner != this) {
    return absl::FailedPreconditionError("the value belongs to another session");
  }
  if (value->state_ == State::kBytes && value->bytes_->bytes.size() > options_.max_feed_bytes) {
    const ObjectId id = session_->NewIds(1);
    MOAI_RETURN_IF_ERROR(session_->Upload(id, value->type_, std::move(*value->bytes_)));
    value->bytes_ = nullptr;
    value->state_ = State::kObject;
    value->object_ = id;
  }
  switch (value->state_) {
    case State::kObject:
      NoteUse(value->object_, value->type_);
      value->id_ =
          builder_.AddInput(InputKind::kValue, static_cast<uint32_t>(values_.size()), value->type_);
      values_.push_back(value->object_);
      break;
    case State::kSlot:
      value->id_ =
          builder_.AddInput(InputKind::kSlot, SlotBinding(value->slot_.get()), value->type_);
      break;
    case State::kBytes:
      value->id_ =
          builder_.AddInput(InputKind::kFeed, static_cast<uint32_t>(feeds_.size()), value->type_);
      feeds_.push_back(*value->bytes_);
      break;
    case State::kNumber:
      value->id_ = builder_.AddScalar(value->type_.dtype);
      scalars_.push_back(value->number_);
      break;
    case State::kPending:
    case State::kDropped:
    case State::kLost:
      return absl::InternalError("a pending value is not in the open graph");
  }
  value->recorder_ = Ref<Recorder>(this);
  value->bound_in_ = generation_;
  return value->id_;
}

uint32_t Recorder::SlotBinding(Slot* slot) {
  if (slot->bound_in_ != generation_) {
    slot->bound_in_ = generation_;
    slot->binding_ = static_cast<uint32_t>(slots_.size());
    slots_.push_back(slot->id_);
  }
  return slot->binding_;
}

// ---- State

Ref<Slot> Recorder::NewSlot(const TensorType& type) {
  return Ref<Slot>(new Slot(Ref<Recorder>(this), type));
}

absl::StatusOr<Ref<LazyValue>> Recorder::Alias(LazyValue* value) {
  MOAI_ASSIGN_OR_RETURN(const ValueId id, Id(value));
  return NewValue(id);
}

absl::StatusOr<Ref<LazyValue>> Recorder::Assign(const Ref<Slot>& slot, Ref<LazyValue> value) {
  using State = LazyValue::State;
  if (slot->recorder_.get() != this || !(value->type_ == slot->type_)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a slot of ", ToString(slot->type_), " cannot take a value of ", ToString(value->type_)));
  }
  if (slot->next_ == value) return value;
  if (value->state_ == State::kSlot && value->slot_ == slot && slot->content_ == value.get()) {
    // It is there already: nothing to store.
    slot->CancelAssignment();
    return value;
  }
  const bool free = value->state_ == State::kPending || value->state_ == State::kBytes ||
                    value->state_ == State::kNumber;
  if (!free || value->claimed_by_ != nullptr) {
    MOAI_ASSIGN_OR_RETURN(value, Alias(value.get()));
  }
  value->claimed_by_ = slot.get();
  if (slot->next_) {
    slot->next_->claimed_by_ = nullptr;
  } else {
    slot->dirty_index_ = static_cast<uint32_t>(dirty_.size());
    dirty_.push_back(slot.get());
  }
  slot->next_ = value;
  return value;
}

// ---- Closing

void Recorder::CutIfDue() {
  if (builder_.node_count() < options_.max_nodes && has_cut_ && window_ != cut_window_) return;
  has_cut_ = true;
  cut_window_ = window_;
  (void)Flush();  // Begin returns what it leaves in ended_
}

bool Recorder::NothingToSubmit() const {
  if (builder_.node_count() > 0) return false;
  for (const LazyValue* value : live_) {
    if (value != nullptr) return false;
  }
  for (const Slot* slot : dirty_) {
    if (slot != nullptr) return false;
  }
  return true;
}

absl::Status Recorder::Flush() {
  if (!ended_.ok()) return ended_;
  if (NothingToSubmit()) return absl::OkStatus();
  KeepReplacedContents();
  const std::vector<Slot*> uploads = AddSlotOutputs();
  const std::vector<LazyValue*> outputs = AddValueOutputs();
  ObjectId first_output = 0;
  ended_ = SubmitGraph(outputs.size(), first_output);
  ++generation_;
  live_.clear();
  last_outputs_ = {first_output, first_output + outputs.size()};
  BecomeObjects(outputs, first_output);
  const absl::Status stored = StoreContents(uploads);
  if (ended_.ok()) ended_ = stored;
  SendReleases();
  return ended_;
}

void Recorder::KeepReplacedContents() {
  for (Slot* slot : dirty_) {
    if (slot == nullptr || slot->content_ == nullptr) continue;
    // Someone still refers to what the slot is about to lose: it becomes a value of its own.
    LazyValue* content = slot->content_;
    if (!Id(content).ok()) continue;
    slot->content_ = nullptr;
    content->state_ = LazyValue::State::kPending;
    Register(content);
    content->slot_ = nullptr;
  }
}

std::vector<Slot*> Recorder::AddSlotOutputs() {
  std::vector<Slot*> uploads;
  for (Slot* slot : dirty_) {
    if (slot == nullptr) continue;
    LazyValue* next = slot->next_.get();
    if (next->bound_in_ == generation_ && next->recorder_.get() == this) {
      builder_.AddOutput(OutputKind::kSlot, next->id_, SlotBinding(slot));
    } else {
      uploads.push_back(slot);  // bytes or a number that no op of this graph uses
    }
  }
  return uploads;
}

std::vector<LazyValue*> Recorder::AddValueOutputs() {
  std::vector<LazyValue*> outputs;
  for (LazyValue* value : live_) {
    if (value == nullptr || value->claimed_by_ != nullptr) continue;
    if (value->droppable_ && value->references() == 1) {
      value->state_ = LazyValue::State::kDropped;
      continue;
    }
    builder_.AddOutput(OutputKind::kValue, value->id_);
    outputs.push_back(value);
  }
  return outputs;
}

absl::Status Recorder::SubmitGraph(size_t value_outputs, ObjectId& first_output) {
  recorded_nodes_ += builder_.node_count();
  CapturedGraph captured = builder_.Finish();
  StepRequest step;
  step.slots = std::exchange(slots_, {});
  step.values = std::exchange(values_, {});
  step.scalars = std::exchange(scalars_, {});
  step.feeds = std::exchange(feeds_, {});
  if (captured.graph.outputs.empty()) return absl::OkStatus();  // nobody can see what it does
  if (value_outputs > 0) first_output = session_->NewIds(value_outputs);
  step.fingerprint = captured.fingerprint;
  step.graph = std::make_shared<const Graph>(std::move(captured.graph));
  step.sizes = std::move(captured.sizes);
  step.first_output = first_output;
  return session_->Submit(std::move(step));
}

void Recorder::BecomeObjects(absl::Span<LazyValue* const> outputs, ObjectId first_output) {
  for (LazyValue* value : outputs) {
    value->state_ = ended_.ok() ? LazyValue::State::kObject : LazyValue::State::kLost;
    value->object_ = first_output++;
  }
}

absl::Status Recorder::StoreContents(absl::Span<Slot* const> uploads) {
  absl::Status status = ended_;
  for (Slot* slot : uploads) {
    // A new id: the old content may still be on its way to earlier steps.
    Release(std::exchange(slot->id_, session_->NewIds(1)));
    LazyValue* next = slot->next_.get();
    SharedBytes bytes = next->state_ == LazyValue::State::kBytes
                            ? std::move(*next->bytes_)
                            : NumberBytes(next->type_.dtype, next->number_);
    next->bytes_ = nullptr;
    if (status.ok()) status = session_->Upload(slot->id_, next->type_, std::move(bytes));
  }
  std::vector<Ref<LazyValue>> stored;  // dropped last: dropping one may drop its slot
  for (Slot* slot : dirty_) {
    if (slot == nullptr) continue;
    Ref<LazyValue> next = std::exchange(slot->next_, nullptr);
    next->claimed_by_ = nullptr;
    // Large bytes that ops of this graph use were uploaded for them.
    if (next->state_ == LazyValue::State::kObject) Release(next->object_);
    if (status.ok()) {
      next->state_ = LazyValue::State::kSlot;
      next->slot_ = Ref<Slot>(slot);
      slot->content_ = next.get();
    } else {
      next->state_ = LazyValue::State::kLost;
    }
    stored.push_back(std::move(next));
  }
  dirty_.clear();
  return status;
}

void Recorder::SendReleases() {
  if (releases_.empty()) return;
  session_->Release(releases_);
  releases_.clear();
}

absl::Status Recorder::MarkStep() {
  MOAI_RETURN_IF_ERROR(Flush());
  const std::optional<ReadCut> cut = std::exchange(read_cut_, std::nullopt);
  split_steps_ = cut.has_value() && cut->values_used > 0 ? split_steps_ + 1 : 0;
  // A read in a single step is somebody looking, not the shape of the program.
  if (split_steps_ != 2 || warned_ || !options_.warn) return absl::OkStatus();
  warned_ = true;
  const Location& at = cut->location;
  options_.warn(absl::StrCat(
      "[warning] ", at.line() > 0 ? absl::StrCat(at.file_name(), ":", at.line(), ": ") : "",
      "a read in the middle of the training step makes the step wait and sends it in two parts; ",
      cut->values_used, " values (", cut->bytes_used,
      " bytes) may have to be stored in between. Read after Backward() and the optimizer's Step() "
      "instead"));
  return absl::OkStatus();
}

void Recorder::NoteUse(ObjectId object, const TensorType& type) {
  if (!read_cut_.has_value()) return;
  if (object < read_cut_->first_object || object >= read_cut_->object_limit) return;
  ++read_cut_->values_used;
  read_cut_->bytes_used += type.bytes();
}

absl::Status Recorder::Synchronize() {
  MOAI_RETURN_IF_ERROR(Flush());
  return session_->Synchronize();
}

absl::Status Recorder::Read(LazyValue* value, absl::Span<std::byte> destination,
                            Location location) {
  using State = LazyValue::State;
  if (destination.size() != static_cast<size_t>(value->type_.bytes())) {
    return absl::InvalidArgumentError(absl::StrCat("reading ", ToString(value->type_), " needs ",
                                                   value->type_.bytes(), " bytes, got ",
                                                   destination.size()));
  }
  if (value->state_ == State::kPending) {
    MOAI_RETURN_IF_ERROR(Flush());
    if (!read_cut_.has_value()) {
      read_cut_ = {.location = location,
                   .first_object = last_outputs_.first,
                   .object_limit = last_outputs_.second};
    }
  }
  switch (value->state_) {
    case State::kObject:
      return session_->Read(value->object_, destination);
    case State::kSlot:
      return session_->Read(value->slot_->id_, destination);
    case State::kBytes:
      std::copy_n(value->bytes_->bytes.begin(), destination.size(), destination.begin());
      return absl::OkStatus();
    case State::kNumber: {
      const SharedBytes bytes = NumberBytes(value->type_.dtype, value->number_);
      std::copy_n(bytes.bytes.begin(), destination.size(), destination.begin());
      return absl::OkStatus();
    }
    case State::kPending:
    case State::kDropped:
    case State::kLost:
      break;
  }
  return ended_.ok() ? absl::InternalError("a value was not submitted") : ended_;
}

}  // namespace moai
