// gRPC settings that both ends of every stream share, and addresses.
//
// Includes gRPC: for .cc files of wire/ only.
#ifndef MOAI_WIRE_CHANNEL_H_
#define MOAI_WIRE_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace moai::wire {

// Control messages and chunks of bulk bytes are smaller.
inline constexpr int kMaxGrpcMessageBytes = 17 << 20;

// The settings as (name, number), for ChannelArguments and ServerBuilder alike.
const std::vector<std::pair<const char*, int>>& StreamArguments();

// A channel of its own to `address` ("host:port" or "unix:/path"). Connects when first used.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address);

// InvalidArgument says what is wrong with an address that is neither "host:port" nor "unix:/path".
absl::Status CheckAddress(absl::string_view address);

// Whether only processes of this machine reach the address: a Unix socket or a loopback host.
bool IsLocalAddress(absl::string_view address);

}  // namespace moai::wire

#endif  // MOAI_WIRE_CHANNEL_H_
