// The connecting end of a control stream: sends messages, takes messages, each exactly once and in
// order, and reconnects by itself when the connection breaks, for as long as the lease that the
// server granted.
#ifndef MOAI_WIRE_CONTROL_CLIENT_H_
#define MOAI_WIRE_CONTROL_CLIENT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "wire/reliable_stream.h"

namespace moai::wire {

// Answers of the opening handshake. Calls come one at a time on the client's own thread, and must
// not block. Each may call Send.
class ControlClientHandler {
 public:
  virtual ~ControlClientHandler() = default;

  // The serialised hello of the next connection: a new session at first, then the one to resume.
  virtual std::string Hello() = 0;

  // The server's serialised welcome. Returns the lease: for how long to try to reconnect. An error
  // ends the stream.
  virtual absl::StatusOr<std::chrono::milliseconds> OnWelcome(absl::string_view welcome) = 0;

  // One message; the view ends with the call. An error ends the stream, and the server is told.
  virtual absl::Status OnMessage(absl::string_view message) = 0;
  virtual void OnFrameEnd() {}

  virtual void OnDisconnected(const absl::Status& /*why*/) {}
  virtual void OnResumed() {}

  // The last call, exactly once. OK if the stream was closed in order.
  virtual void OnEnded(const absl::Status& why) = 0;
};

struct ControlClientOptions {
  std::string address;  // "host:port" or "unix:/path"
  std::string method;   // "/moai.proto.SessionService/Attach"
  ReliableLimits limits;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(20);
  // Try for the whole connect_timeout while nobody listens yet, instead of failing at once.
  bool wait_for_server = false;
};

struct ControlClientStats {
  uint64_t bytes_sent = 0;  // of frames, replays included
  uint64_t frames_sent = 0;
  uint64_t frames_received = 0;
  uint64_t reconnects = 0;
};

// Thread-safe.
class ControlClient {
 public:
  // Connects and shakes hands; the handler's OnWelcome has returned OK when this does. The error
  // says which address was tried and why it failed.
  static absl::StatusOr<std::unique_ptr<ControlClient>> Connect(
      const ControlClientOptions& options, std::shared_ptr<ControlClientHandler> handler);

  // Closes in order if nobody has; no handler call runs after this.
  ~ControlClient();

  // Sends a message; at once if the stream is idle, else with the next frame. Blocks while the
  // queue of unacknowledged messages is full (never on the handler's thread: there,
  // ResourceExhausted). An error means that the stream has ended, and why.
  absl::Status Send(std::string message);

  // Like Send, but leaves the message queued until Flush (or a later Send).
  absl::Status Queue(std::string message);
  void Flush();

  // Sends what is queued, ends the session at the server, and stops. Waits for the server to have
  // taken everything, up to `timeout`.
  void Close(std::chrono::milliseconds timeout);

  bool connected() const;
  ControlClientStats stats() const;

 private:
  class Impl;
  explicit ControlClient(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_CONTROL_CLIENT_H_
