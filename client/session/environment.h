// What the environment says to programs and commands alike.
#ifndef MOAI_CLIENT_SESSION_ENVIRONMENT_H_
#define MOAI_CLIENT_SESSION_ENVIRONMENT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace moai {

// Empty where the variable is not set.
std::string Environment(const char* name);

// The virtual device that MOREH_VISIBLE_DEVICE picks, if it picks one. InvalidArgument where it is
// no number.
absl::StatusOr<std::optional<uint32_t>> VisibleDevice();

}  // namespace moai

#endif  // MOAI_CLIENT_SESSION_ENVIRONMENT_H_
