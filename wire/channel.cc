#include "wire/channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace moai::wire {
namespace {

constexpr absl::string_view kUnix = "unix:";

absl::string_view Host(absl::string_view address) { return address.substr(0, address.rfind(':')); }

}  // namespace

const std::vector<std::pair<const char*, int>>& StreamArguments() {
  static const auto* const arguments = new std::vector<std::pair<const char*, int>>{
      // Frames of 1 MiB and no window estimation: the settings at which bulk bytes reach the speed
      // of
      // raw TCP (docs/performance.md).
      {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 1 << 20},
      {GRPC_ARG_HTTP2_BDP_PROBE, 0},
      {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4 << 20},
      {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kMaxGrpcMessageBytes},
      {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, kMaxGrpcMessageBytes},
      // A peer that vanished without a word is noticed within 20 s, an idle one too.
      {GRPC_ARG_KEEPALIVE_TIME_MS, 10000},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000},
      {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0},
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, 1024},
      // A proxy of the environment is for the web, not for peers that somebody named.
      {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
      {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},
      // Broken streams are resumed here, where it is known what arrived.
      {GRPC_ARG_ENABLE_RETRIES, 0},
      // Two servers must not share a port by accident.
      {GRPC_ARG_ALLOW_REUSEPORT, 0},
  };
  return *arguments;
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  for (const auto& [name, value] : StreamArguments()) arguments.SetInt(name, value);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status CheckAddress(absl::string_view address) {
  if (absl::StartsWith(address, kUnix)) {
    if (address.size() > kUnix.size()) return absl::OkStatus();
    return absl::InvalidArgumentError("The address \"unix:\" has no path; write unix:/path");
  }
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", address,
        "\" is no address; write host:port (for example 10.0.0.7:50051) or unix:/path"));
  }
  return absl::OkStatus();
}

bool IsLocalAddress(absl::string_view address) {
  if (absl::StartsWith(address, kUnix)) return true;
  const absl::string_view host = Host(address);
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

}  // namespace moai::wire
