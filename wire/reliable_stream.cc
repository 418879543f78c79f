#include "wire/reliable_stream.h"

#include <algorithm>
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
  if (message.size() <= limits_.piece_bytes) {
    queue_.push_back({std::move(message), false});
    return absl::OkStatus();
  }
  for (size_t begin = 0; begin < message.size(); begin += limits_.piece_bytes) {
    queue_.push_back(
        {message.substr(begin, limits_.piece_bytes), begin + limits_.piece_bytes < message.size()});
  }
  return absl::OkStatus();
}

void ReliableSender::Fill(std::string& frame) {
  if (unsent() == 0) return;
  AppendFirstSequence(first_sequence_ + sent_, frame);
  do {
    const Message& message = queue_[sent_];
    if (message.piece) {
      AppendPiece(message.bytes, frame);
    } else {
      AppendMessage(message.bytes, frame);
    }
    ++sent_;
  } while (sent_ < queue_.size() &&
           frame.size() + queue_[sent_].bytes.size() + kMessageOverhead <= frame_bytes_);
}

absl::Status ReliableSender::Acknowledge(uint64_t sequence) {
  if (sequence < first_sequence_) return absl::OkStatus();
  if (sequence >= first_sequence_ + sent_) {
    return absl::InvalidArgumentError(
        absl::StrCat("Malformed control frame, field acknowledged: ", sequence,
                     " was never sent; the last message sent is ", first_sequence_ + sent_ - 1));
  }
  while (first_sequence_ <= sequence) {
    queued_bytes_ -= queue_.front().bytes.size();
    bytes_through_ += queue_.front().bytes.size();
    queue_.pop_front();
    ++first_sequence_;
    --sent_;
  }
  // A connection that holds this long deserves whole frames again.
  if (bytes_through_ > 16 * limits_.target_frame_bytes) frame_bytes_ = limits_.target_frame_bytes;
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
  const bool tried = sent_ > 0;
  sent_ = queue_.size();
  MOAI_RETURN_IF_ERROR(Acknowledge(peer_acknowledged));
  if (tried && bytes_through_ == 0) {
    frame_bytes_ = std::max(frame_bytes_ / 2, std::min(frame_bytes_, limits_.piece_bytes));
  }
  sent_ = 0;
  bytes_through_ = 0;
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

absl::Status ReliableReceiver::AddPiece(absl::string_view piece) {
  if (partial_.size() + piece.size() > limits_.max_message_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("Malformed control frame, field pieces: a message of more than ",
                     limits_.max_message_bytes, " bytes"));
  }
  partial_.append(piece.data(), piece.size());
  return absl::OkStatus();
}

}  // namespace moai::wire
