// A Session over gRPC: control messages on one stream to the server, bulk bytes on streams to the
// executor.
#ifndef MOAI_CLIENT_SESSION_GRPC_SESSION_H_
#define MOAI_CLIENT_SESSION_GRPC_SESSION_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/session.h"

namespace moai {

struct GrpcSessionOptions {
  std::string address;                     // "host:port" or "unix:/path"
  std::string token;                       // identity
  std::optional<uint32_t> visible_device;  // none: the identity's current one
  std::string process_name;                // UTF-8
  // Use shared memory for bulk bytes to an executor of this host.
  bool shared_memory = true;
  // How far to run ahead: steps that the server has not reported as done, and bytes of feeds that
  // were uploaded for them.
  uint64_t max_steps_ahead = 4096;
  uint64_t max_feed_bytes_ahead = uint64_t{256} << 20;
  // Bytes of uploads that wait to be sent; their memory is held until then.
  uint64_t max_upload_bytes_waiting = uint64_t{512} << 20;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(20);
  bool wait_for_server = false;
  // Takes lines for the person at the terminal: "[info] ...". Called on any thread.
  std::function<void(absl::string_view line)> print;
};

// What the server said of itself.
struct SessionInfo {
  std::string server_version;
  uint64_t job_id = 0;
};

class GrpcSession : public Session {
 public:
  // Connects and begins a session. The error says which address was tried and what is wrong.
  static absl::StatusOr<std::shared_ptr<GrpcSession>> Connect(const GrpcSessionOptions& options);

  virtual SessionInfo info() const = 0;
};

}  // namespace moai

#endif  // MOAI_CLIENT_SESSION_GRPC_SESSION_H_
