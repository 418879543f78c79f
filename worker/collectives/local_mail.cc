#include "worker/collectives/local_mail.h"

namespace moai {

LocalMail::LocalMail(size_t devices, GroupState* state)
    : state_(state), slots_(devices * devices), devices_(devices) {
  state_->OnBreak([this] {
    for (Device& device : devices_) device.wake.NotifyAll();
  });
}

absl::Status LocalMail::Post(size_t from, size_t to, const std::byte* data, int64_t bytes,
                             Clock::time_point arrival) {
  MutexLock lock(state_->mutex());
  if (!state_->error().ok()) return state_->error();
  Slot& slot = At(from, to);
  if (slot.state != LetterState::kNone) {
    return absl::InternalError("a device sent twice before its message was read");
  }
  slot = {LetterState::kPosted, {data, bytes}, arrival};
  ++devices_[from].unread;
  if (devices_[to].waits_for == from) devices_[to].wake.NotifyOne();
  return absl::OkStatus();
}

absl::StatusOr<LocalMail::Letter> LocalMail::Await(size_t from, size_t to,
                                                   Clock::time_point deadline) {
  MutexLock lock(state_->mutex());
  Slot& slot = At(from, to);
  Device& device = devices_[to];
  while (state_->error().ok()) {
    const bool posted = slot.state == LetterState::kPosted;
    if (posted && (slot.arrival == Clock::time_point{} || Clock::now() >= slot.arrival)) {
      slot.state = LetterState::kBeingRead;
      ++devices_[from].being_read;
      return slot.letter;
    }
    device.waits_for = from;
    const bool in_time = device.wake.WaitUntil(state_->mutex(), posted ? slot.arrival : deadline);
    device.waits_for = kNobody;
    if (!in_time && slot.state == LetterState::kNone && state_->error().ok()) {
      return absl::DeadlineExceededError("it sent nothing");
    }
  }
  return state_->error();
}

void LocalMail::Done(size_t from, size_t to) {
  MutexLock lock(state_->mutex());
  At(from, to).state = LetterState::kNone;
  Device& sender = devices_[from];
  --sender.unread;
  --sender.being_read;
  const bool all = sender.unread == 0 || (!state_->error().ok() && sender.being_read == 0);
  if (all && sender.waits_for_readers) sender.wake.NotifyOne();
}

absl::Status LocalMail::AwaitRead(size_t from, Clock::time_point deadline) {
  MutexLock lock(state_->mutex());
  Device& device = devices_[from];
  bool in_time = true;
  device.waits_for_readers = true;
  while (device.unread > 0 && state_->error().ok() && in_time) {
    in_time = device.wake.WaitUntil(state_->mutex(), deadline);
  }
  const bool complete = device.unread == 0;
  // Those who read now end soon, whatever else happens. Nobody begins any more: the rest is
  // withdrawn.
  if (!complete) {
    for (size_t to = 0; to < devices_.size(); ++to) {
      Slot& slot = At(from, to);
      if (slot.state != LetterState::kPosted) continue;
      slot.state = LetterState::kNone;
      --device.unread;
    }
    while (device.being_read > 0) device.wake.Wait(state_->mutex());
  }
  device.waits_for_readers = false;
  if (!state_->error().ok()) return state_->error();
  if (!complete) return absl::DeadlineExceededError("a message was not read");
  return absl::OkStatus();
}

absl::Status LocalMail::SleepUntil(size_t device, Clock::time_point time) {
  MutexLock lock(state_->mutex());
  while (state_->error().ok() && Clock::now() < time) {
    devices_[device].wake.WaitUntil(state_->mutex(), time);
  }
  return state_->error();
}

}  // namespace moai
