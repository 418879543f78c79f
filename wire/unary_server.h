// Methods that take one request and give one answer (plain unary gRPC), beside control streams on
// the addresses of a StreamServer: what commands ask that hold no session.
#ifndef MOAI_WIRE_UNARY_SERVER_H_
#define MOAI_WIRE_UNARY_SERVER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "wire/control_server.h"
#include "wire/stream_server.h"

namespace moai::wire {

// No request is larger.
inline constexpr size_t kMaxUnaryRequestBytes = 64 << 10;

// Takes the serialised answer, or an error for the peer; once, on any thread. Does nothing where
// the peer has gone. A request that is not answered within 30 seconds ends with DeadlineExceeded.
using UnaryReply = std::function<void(absl::StatusOr<std::string> answer)>;

// Called with each request, on pollers' threads, several at once: must not block.
using UnaryHandler = std::function<void(std::string request, PeerInfo peer, UnaryReply reply)>;

std::shared_ptr<StreamAcceptor> ServeUnary(UnaryHandler handler);

}  // namespace moai::wire

#endif  // MOAI_WIRE_UNARY_SERVER_H_
