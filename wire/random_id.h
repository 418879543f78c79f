// 128-bit random names that are secrets: whoever knows one may use what it names.
#ifndef MOAI_WIRE_RANDOM_ID_H_
#define MOAI_WIRE_RANDOM_ID_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace moai::wire {

inline constexpr size_t kRandomIdBytes = 16;

// 16 bytes from the operating system's generator.
std::string NewRandomId();

// Compares without telling by its duration where two secrets of equal length differ.
bool EqualSecrets(absl::string_view a, absl::string_view b);

}  // namespace moai::wire

#endif  // MOAI_WIRE_RANDOM_ID_H_
