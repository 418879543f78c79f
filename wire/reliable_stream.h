// Exactly-once, in-order delivery over connections that break. One direction of a stream is a
// ReliableSender at one end and a ReliableReceiver at the other; a frame (wire/frame.h) carries
// messages of one direction and acknowledgements of the other.
//
// Messages are numbered from 1. The sender keeps each one until the peer says that it took it;
// after a reconnect the peer says up to where it took them, and the rest is sent again. The
// receiver drops what it has seen and refuses gaps, which a connection that keeps order cannot
// make.
//
// A link may break again and again after a few kilobytes. So that it makes progress all the same,
// a large message travels in pieces, each of which counts and is acknowledged like a message, and
// frames that do not get through become smaller.
//
// Knows no transport and no threads: callers lock.
#ifndef MOAI_WIRE_RELIABLE_STREAM_H_
#define MOAI_WIRE_RELIABLE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "wire/frame.h"

namespace moai::wire {

struct ReliableLimits {
  // Of messages that the peer has not acknowledged. A message is taken if the queue is below both,
  // so that a single large one always fits.
  size_t max_queued_messages = 65536;
  size_t max_queued_bytes = size_t{64} << 20;
  size_t max_message_bytes = size_t{16} << 20;
  // Frames are filled up to here; one piece may exceed it.
  size_t target_frame_bytes = size_t{64} << 10;
  // Longer messages are cut into pieces of so much.
  size_t piece_bytes = size_t{4} << 10;
};

class ReliableSender {
 public:
  explicit ReliableSender(const ReliableLimits& limits = {})
      : limits_(limits), frame_bytes_(limits.target_frame_bytes) {}

  bool HasRoom() const {
    return queue_.size() < limits_.max_queued_messages && queued_bytes_ < limits_.max_queued_bytes;
  }

  // Takes a message. ResourceExhausted without room, InvalidArgument for a message over the limit;
  // both leave the message alone.
  absl::Status Send(std::string&& message);

  // In what follows, messages are whole ones and pieces alike: what has a number.

  // Messages that have not gone into a frame since the last reconnect.
  size_t unsent() const { return queue_.size() - sent_; }
  size_t unacknowledged() const { return queue_.size(); }
  size_t queued_bytes() const { return queued_bytes_; }
  uint64_t last_sequence() const { return first_sequence_ + queue_.size() - 1; }

  // Appends the next unsent messages with their sequence to `frame`.
  void Fill(std::string& frame);

  // The peer has taken everything up to `sequence`. InvalidArgument where it was never sent.
  absl::Status Acknowledge(uint64_t sequence);

  // A new connection, on which the peer has said up to where it took messages: everything later
  // will be sent again, in smaller frames if nothing has got through since the last call. DataLoss
  // where the peer asks for messages that it acknowledged before.
  absl::Status Reconnect(uint64_t peer_acknowledged);

 private:
  struct Message {
    std::string bytes;
    bool piece;  // goes on in the next one
  };

  ReliableLimits limits_;
  std::deque<Message> queue_;
  uint64_t first_sequence_ = 1;  // of queue_.front()
  size_t sent_ = 0;              // the first `sent_` of the queue went out on this connection
  size_t queued_bytes_ = 0;
  size_t frame_bytes_;          // what frames are filled up to now
  uint64_t bytes_through_ = 0;  // acknowledged since the last reconnect
};

class ReliableReceiver {
 public:
  explicit ReliableReceiver(const ReliableLimits& limits = {}) : limits_(limits) {}

  // Calls deliver(message) -> absl::Status for each message not seen before, when it is whole. An
  // error of `deliver` counts its message as taken, stops, and is returned. InvalidArgument for a
  // gap, or pieces of more than the largest message.
  template <typename Deliver>
  absl::Status OnFrame(const FrameView& frame, Deliver&& deliver) {
    if (frame.messages.empty()) return absl::OkStatus();
    MOAI_RETURN_IF_ERROR(CheckSequence(frame));
    uint64_t sequence = frame.first_sequence;
    auto piece = frame.pieces.begin();
    for (size_t i = 0; i < frame.messages.size(); ++i) {
      const bool is_piece = piece != frame.pieces.end() && *piece == i;
      if (is_piece) ++piece;
      if (sequence++ <= taken_) continue;
      ++taken_;
      const absl::string_view message = frame.messages[i];
      if (!is_piece && partial_.empty()) {
        MOAI_RETURN_IF_ERROR(deliver(message));
        continue;
      }
      MOAI_RETURN_IF_ERROR(AddPiece(message));
      if (is_piece) continue;
      const std::string whole = std::exchange(partial_, {});
      MOAI_RETURN_IF_ERROR(deliver(absl::string_view(whole)));
    }
    return absl::OkStatus();
  }

  // The last message or piece taken: what to acknowledge.
  uint64_t taken() const { return taken_; }

 private:
  absl::Status CheckSequence(const FrameView& frame) const;
  absl::Status AddPiece(absl::string_view piece);

  ReliableLimits limits_;
  uint64_t taken_ = 0;
  std::string partial_;  // pieces of a message whose end has not come
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_RELIABLE_STREAM_H_
