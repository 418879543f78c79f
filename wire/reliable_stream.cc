#include "wire/reliable_stream.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace moai::wire {

absl::Status ReliableSender::Send(std::string&& message) {
  if (message.size() > limits_.max_message_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("A control message of ", message.size(),
                                                   " bytes is over the limit of ",
                                                   limits_.max_message_bytes, " bytes"));
  }
  if (!HasRoom()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("The peer has not acknowledged ", queue_.size(), " messages (", queued_bytes_,
                     " bytes); the limits are ", limits_.max_queued_messages, " messages and ",
                     limits_.max_queued_bytes, " bytes"));
  }
  queued_bytes_ += message.size();
  queue_.push_back(std::move(message));
  return absl::OkStatus();
}

void ReliableSender::Fill(std::string& frame) {
  if (unsent() == 0) return;
  AppendFirstSequence(first_sequence_ + sent_, frame);
  do {
    AppendMessage(queue_[sent_], frame);
    ++sent_;
  } while (sent_ < queue_.size() &&
           frame.size() + queue_[sent_].size() + kMessageOverhead <= limits_.target_frame_bytes);
}

absl::Status ReliableSender::Acknowledge(uint64_t sequence) {
  if (sequence < first_sequence_) return absl::OkStatus();
  if (sequence >= first_sequence_ + sent_) {
    return absl::InvalidArgumentError(
        absl::StrCat("Malformed control frame, field acknowledged: ", sequence,
                     " was never sent; the last message sent is ", first_sequence_ + sent_ - 1));
  }
  while (first_sequence_ <= sequence) {
    queued_bytes_ -= queue_.front().size();
    queue_.pop_front();
    ++first_sequence_;
    --sent_;
  }
  return absl::OkStatus();
}

absl::Status ReliableSender::Reconnect(uint64_t peer_acknowledged) {
  if (peer_acknowledged > last_sequence()) {
    return absl::InvalidArgumentError(
        absl::StrCat("Malformed control frame, field acknowledged: ", peer_acknowledged,
                     " was never sent; the last message is ", last_sequence()));
  }
  if (peer_acknowledged + 1 < first_sequence_) {
    return absl::DataLossError(absl::StrCat("The peer has messages up to ", peer_acknowledged,
                                            ", but acknowledged ", first_sequence_ - 1,
                                            " before: it has lost its state"));
  }
  sent_ = queue_.size();
  MOAI_RETURN_IF_ERROR(Acknowledge(peer_acknowledged));
  sent_ = 0;
  return absl::OkStatus();
}

absl::Status ReliableReceiver::CheckSequence(const FrameView& frame) const {
  if (frame.first_sequence == 0) {
    return absl::InvalidArgumentError(
        "Malformed control frame, field first_sequence: missing beside messages");
  }
  if (frame.first_sequence > taken_ + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("Malformed control frame, field first_sequence: expected at most ", taken_ + 1,
                     ", got ", frame.first_sequence, ": messages are missing"));
  }
  if (frame.messages.size() > std::numeric_limits<uint64_t>::max() - frame.first_sequence) {
    return absl::InvalidArgumentError("Malformed control frame, field first_sequence: too large");
  }
  return absl::OkStatus();
}

}  // namespace moai::wire
