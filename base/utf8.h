// Text from outside, made fit for protocol buffers' string fields, which take nothing but UTF-8.
#ifndef MOAI_BASE_UTF8_H_
#define MOAI_BASE_UTF8_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace moai {

// `text` with every byte that is not part of valid UTF-8 replaced by '?', and no longer than
// `max_bytes`: cut between characters.
std::string ValidUtf8(absl::string_view text, size_t max_bytes);

// Characters in valid UTF-8.
size_t Utf8Length(absl::string_view text);

}  // namespace moai

#endif  // MOAI_BASE_UTF8_H_
