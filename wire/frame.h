// The frame of a control stream, on bytes. ClientFrame and ServerFrame (proto/session.proto), and
// the frames of every other control stream, share one layout:
//
//   1 opening         hello or welcome, in the first frame of a connection
//   2 first_sequence  of messages[0]
//   3 acknowledged    every message of the peer up to this one has been taken
//   4 messages        repeated
//   5 closed          a StatusProto: the stream has ended for good
//   6 pieces          repeated; in place of a message: its beginning, which the next one continues
//
// Working on bytes keeps a message serialised once, however often it is sent, and lets streams of
// different message types share all code below them.
#ifndef MOAI_WIRE_FRAME_H_
#define MOAI_WIRE_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace moai::wire {

// A parsed frame. Views point into the parsed bytes.
struct FrameView {
  bool has_opening = false;
  absl::string_view opening;
  uint64_t first_sequence = 0;
  uint64_t acknowledged = 0;
  // Whole messages and pieces, in order; the ends of cut messages are among the former.
  std::vector<absl::string_view> messages;
  std::vector<uint32_t> pieces;  // which of `messages` are pieces, ascending
  bool has_closed = false;
  absl::string_view closed;
};

// Replaces `frame` by the content of `bytes`; takes a FrameView to reuse its memory. Bytes may come
// from anybody: InvalidArgument names the field that is malformed. Unknown fields are skipped.
absl::Status ParseFrame(absl::string_view bytes, FrameView& frame);

// Append one field to a serialised frame. Fields may come in any order; defaults are left out.
void AppendOpening(absl::string_view opening, std::string& frame);
void AppendFirstSequence(uint64_t sequence, std::string& frame);
void AppendAcknowledged(uint64_t sequence, std::string& frame);
void AppendMessage(absl::string_view message, std::string& frame);
void AppendPiece(absl::string_view piece, std::string& frame);
void AppendClosed(absl::string_view status, std::string& frame);

// No frame carries more messages: bounds what parsing a hostile frame costs.
inline constexpr size_t kMaxFrameMessages = 65536;

// Upper bound of what AppendMessage and AppendPiece add to the message's own bytes.
inline constexpr size_t kMessageOverhead = 6;

}  // namespace moai::wire

#endif  // MOAI_WIRE_FRAME_H_
