#include "base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace moai {
namespace {

bool IsContinuation(char c) { return (uint8_t(c) & 0xC0) == 0x80; }

// Bytes of the character that `text` begins with; 0 where it begins with none.
size_t CharacterLength(absl::string_view text) {
  const uint8_t first = uint8_t(text[0]);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xC2 && first < 0xE0   ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  // Longer than needed, a half of a surrogate pair, beyond the last character.
  const uint8_t second = uint8_t(text[1]);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second >= 0xA0) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second >= 0x90)) {
    return 0;
  }
  return length;
}

}  // namespace

std::string ValidUtf8(absl::string_view text, size_t max_bytes) {
  std::string valid;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    const absl::string_view character = length == 0 ? "?" : text.substr(0, length);
    if (valid.size() + character.size() > max_bytes) break;
    valid.append(character.data(), character.size());
    text.remove_prefix(std::max<size_t>(1, length));
  }
  return valid;
}

size_t Utf8Length(absl::string_view text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); }));
}

}  // namespace moai
