// A gRPC server of raw streams: control streams and transfers, several methods on the same
// addresses.
//
//   StreamServerOptions options;
//   options.addresses = {"127.0.0.1:0", "unix:/run/moai/server"};
//   auto server = StreamServer::Start(options, {{"/moai.proto.SessionService/Attach",
//   ServeControl(acceptor)}});
#ifndef MOAI_WIRE_STREAM_SERVER_H_
#define MOAI_WIRE_STREAM_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "wire/control_server.h"

namespace moai::wire {

class StreamAcceptor;  // wire/raw_stream.h

// The stream method that carries control sessions which `acceptor` admits. The acceptor must
// outlive the server.
std::shared_ptr<StreamAcceptor> ServeControl(ControlAcceptor* acceptor);

struct StreamServerOptions {
  // Where to listen: "host:port" (port 0 takes a free one) or "unix:/path".
  std::vector<std::string> addresses;
  // Threads that take events. More than one only where streams are many.
  int threads = 1;
  // An unencrypted listener may bind to an address that other machines reach only if this is set.
  bool allow_insecure_remote = false;
  // PEM contents; both set: TLS. With `client_ca` clients must show a certificate (mTLS).
  std::string certificate;
  std::string private_key;
  std::string client_ca;
};

class StreamServer {
 public:
  using Methods = std::vector<std::pair<std::string, std::shared_ptr<StreamAcceptor>>>;

  // `methods`: full method name ("/package.Service/Method") and what serves it.
  static absl::StatusOr<std::unique_ptr<StreamServer>> Start(const StreamServerOptions& options,
                                                             Methods methods);
  // Breaks all connections and ends all sessions with Unavailable; no handler runs after this.
  ~StreamServer();

  // As in the options, with the port that was taken.
  const std::vector<std::string>& addresses() const;

 private:
  class Impl;
  explicit StreamServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_STREAM_SERVER_H_
