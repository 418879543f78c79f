#include "client/session/environment.h"

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace moai {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<std::optional<uint32_t>> VisibleDevice() {
  const std::string text = Environment("MOREH_VISIBLE_DEVICE");
  if (text.empty()) return std::nullopt;
  uint32_t device = 0;
  if (!absl::SimpleAtoi(text, &device)) {
    return absl::InvalidArgumentError(
        absl::StrCat("MOREH_VISIBLE_DEVICE is \"", text,
                     "\"; it names one virtual device by its number, for example 0"));
  }
  return device;
}

}  // namespace moai
