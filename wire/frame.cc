#include "wire/frame.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai::wire {
namespace {

enum Field : uint32_t {
  kOpening = 1,
  kFirstSequence = 2,
  kAcknowledged = 3,
  kMessages = 4,
  kClosed = 5,
  kPieces = 6,
};

enum WireType : uint32_t {
  kVarint = 0,
  kFixed64 = 1,
  kLengthDelimited = 2,
  kFixed32 = 5,
};

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void AppendBytes(Field field, absl::string_view bytes, std::string& out) {
  AppendVarint(field << 3 | kLengthDelimited, out);
  AppendVarint(bytes.size(), out);
  out.append(bytes.data(), bytes.size());
}

void AppendNumber(Field field, uint64_t value, std::string& out) {
  if (value == 0) return;
  AppendVarint(field << 3 | kVarint, out);
  AppendVarint(value, out);
}

std::string FieldName(uint32_t field) {
  switch (field) {
    case kOpening:
      return "opening";
    case kFirstSequence:
      return "first_sequence";
    case kAcknowledged:
      return "acknowledged";
    case kMessages:
      return "messages";
    case kClosed:
      return "closed";
    case kPieces:
      return "pieces";
    default:
      return absl::StrCat("number ", field);
  }
}

absl::Status Malformed(uint32_t field, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("Malformed control frame, field ", FieldName(field), ": ", what));
}

class Reader {
 public:
  explicit Reader(absl::string_view bytes)
      : next_(reinterpret_cast<const uint8_t*>(bytes.data())), end_(next_ + bytes.size()) {}

  bool done() const { return next_ == end_; }

  bool Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (next_ == end_) return false;
      const uint64_t byte = *next_++;
      if (shift == 63 && byte > 1) return false;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool Bytes(uint64_t size, absl::string_view& bytes) {
    if (size > static_cast<uint64_t>(end_ - next_)) return false;
    bytes = absl::string_view(reinterpret_cast<const char*>(next_), size);
    next_ += size;
    return true;
  }

 private:
  const uint8_t* next_;
  const uint8_t* end_;
};

absl::Status Number(Reader& reader, uint32_t field, uint32_t type, uint64_t& value) {
  if (type != kVarint) return Malformed(field, absl::StrCat("expected a varint, got type ", type));
  if (!reader.Varint(value)) return Malformed(field, "the varint is cut off or too long");
  return absl::OkStatus();
}

absl::Status Bytes(Reader& reader, uint32_t field, uint32_t type, absl::string_view& bytes) {
  if (type != kLengthDelimited) {
    return Malformed(field, absl::StrCat("expected bytes, got type ", type));
  }
  uint64_t size = 0;
  if (!reader.Varint(size)) return Malformed(field, "the length is cut off or too long");
  if (!reader.Bytes(size, bytes)) {
    return Malformed(field, absl::StrCat("the length ", size, " passes the end of the frame"));
  }
  return absl::OkStatus();
}

absl::Status Skip(Reader& reader, uint32_t field, uint32_t type) {
  uint64_t number = 0;
  absl::string_view bytes;
  switch (type) {
    case kVarint:
      return Number(reader, field, type, number);
    case kLengthDelimited:
      return Bytes(reader, field, type, bytes);
    case kFixed64:
    case kFixed32:
      if (!reader.Bytes(type == kFixed64 ? 8 : 4, bytes)) return Malformed(field, "cut off");
      return absl::OkStatus();
    default:
      return Malformed(field, absl::StrCat("unknown wire type ", type));
  }
}

}  // namespace

absl::Status ParseFrame(absl::string_view bytes, FrameView& frame) {
  frame.has_opening = frame.has_closed = false;
  frame.opening = frame.closed = {};
  frame.first_sequence = frame.acknowledged = 0;
  frame.messages.clear();
  frame.pieces.clear();
  Reader reader(bytes);
  while (!reader.done()) {
    uint64_t tag = 0;
    if (!reader.Varint(tag) || tag >> 32 != 0 || tag >> 3 == 0) {
      return absl::InvalidArgumentError("Malformed control frame: a field tag is not valid");
    }
    const uint32_t field = static_cast<uint32_t>(tag >> 3);
    const uint32_t type = tag & 7;
    switch (field) {
      case kOpening:
        MOAI_RETURN_IF_ERROR(Bytes(reader, field, type, frame.opening));
        frame.has_opening = true;
        break;
      case kFirstSequence:
        MOAI_RETURN_IF_ERROR(Number(reader, field, type, frame.first_sequence));
        break;
      case kAcknowledged:
        MOAI_RETURN_IF_ERROR(Number(reader, field, type, frame.acknowledged));
        break;
      case kMessages:
      case kPieces:
        if (frame.messages.size() == kMaxFrameMessages) {
          return Malformed(field, absl::StrCat("more than ", kMaxFrameMessages, " messages"));
        }
        if (field == kPieces) frame.pieces.push_back(static_cast<uint32_t>(frame.messages.size()));
        MOAI_RETURN_IF_ERROR(Bytes(reader, field, type, frame.messages.emplace_back()));
        break;
      case kClosed:
        MOAI_RETURN_IF_ERROR(Bytes(reader, field, type, frame.closed));
        frame.has_closed = true;
        break;
      default:
        MOAI_RETURN_IF_ERROR(Skip(reader, field, type));
    }
  }
  return absl::OkStatus();
}

void AppendOpening(absl::string_view opening, std::string& frame) {
  AppendBytes(kOpening, opening, frame);
}
void AppendFirstSequence(uint64_t sequence, std::string& frame) {
  AppendNumber(kFirstSequence, sequence, frame);
}
void AppendAcknowledged(uint64_t sequence, std::string& frame) {
  AppendNumber(kAcknowledged, sequence, frame);
}
void AppendMessage(absl::string_view message, std::string& frame) {
  AppendBytes(kMessages, message, frame);
}
void AppendPiece(absl::string_view piece, std::string& frame) {
  AppendBytes(kPieces, piece, frame);
}
void AppendClosed(absl::string_view status, std::string& frame) {
  AppendBytes(kClosed, status, frame);
}

}  // namespace moai::wire
