// One request and its answer, over a connection of its own: for commands.
#ifndef MOAI_WIRE_UNARY_CLIENT_H_
#define MOAI_WIRE_UNARY_CLIENT_H_

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace moai::wire {

// Calls `method` ("/package.Service/Method") at `address` ("host:port" or "unix:/path") and waits
// for the answer. Unavailable where nobody can be reached there, DeadlineExceeded after `timeout`;
// else what the server answers.
absl::StatusOr<std::string> CallUnary(const std::string& address, const std::string& method,
                                      absl::string_view request, std::chrono::milliseconds timeout);

}  // namespace moai::wire

#endif  // MOAI_WIRE_UNARY_CLIENT_H_
