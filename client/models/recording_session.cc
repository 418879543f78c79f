#include "client/models/recording_session.h"

#include <utility>

namespace moai {

ObjectId RecordingSession::NewIds(uint64_t count) {
  return std::exchange(next_id_, next_id_ + count);
}

absl::Status RecordingSession::Submit(StepRequest step) {
  ++stats_.steps;
  for (const SharedBytes& feed : step.feeds) stats_.feed_bytes_sent += feed.bytes.size();
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status RecordingSession::Upload(ObjectId id, const TensorType& type, SharedBytes bytes) {
  stats_.feed_bytes_sent += bytes.bytes.size();
  uploads_.insert_or_assign(id, type);
  return absl::OkStatus();
}

void RecordingSession::Release(absl::Span<const ObjectId> ids) {
  for (ObjectId id : ids) uploads_.erase(id);
}

absl::Status RecordingSession::Read(ObjectId, absl::Span<std::byte>) {
  return absl::FailedPreconditionError(
      "no value can be read while a program is captured: nothing runs. Read outside of the "
      "captured step, or connect to an accelerator");
}

}  // namespace moai
