// A peer that says what it likes: raw messages on a stream of any gRPC method, without our client
// library.
#ifndef MOAI_TESTS_SECURITY_RAW_PEER_H_
#define MOAI_TESTS_SECURITY_RAW_PEER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace moai {

struct RawAnswer {
  // How the other end finished the stream; DeadlineExceeded where it kept it open.
  absl::Status status;
  std::vector<std::string> messages;
};

// Connects to `address`, sends `messages` on a new stream of `method`, and listens until the stream
// ends, for `patience_ms` at most.
RawAnswer SendRaw(const std::string& address, const std::string& method,
                  const std::vector<std::string>& messages, int patience_ms);

}  // namespace moai

#endif  // MOAI_TESTS_SECURITY_RAW_PEER_H_
