// The accepting end of control streams (client -> server, worker -> server, ...): hands each
// message of a session, exactly once and in order, to the session's handler, across connections
// that break.
//
//   class Greeter : public ControlAcceptor { ... };   // decides who may open or resume a session
//   class MyHandler : public ControlHandler { ... };  // one per session
//
// A ControlSession outlives its connections: it keeps what it sent until the peer has it, and ends
// when it is closed by either side, when a peer breaks the protocol, or when no connection has
// resumed it within its lease.
#ifndef MOAI_WIRE_CONTROL_SERVER_H_
#define MOAI_WIRE_CONTROL_SERVER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "wire/reliable_stream.h"

namespace moai::wire {

class ControlLink;
class ControlSession;

// What a session does with what it receives. Calls come one at a time, in order, on a poller's
// thread: none may block. A handler may send on its session from within any call.
class ControlHandler {
 public:
  virtual ~ControlHandler() = default;

  // One message; the view ends with the call. An error ends the session, and the peer is told.
  virtual absl::Status OnMessage(absl::string_view message) = 0;

  // After the last message of each frame: the moment to flush what was queued meanwhile.
  virtual void OnFrameEnd() {}

  // The connection broke; the lease runs until OnResumed.
  virtual void OnDisconnected(const absl::Status& /*why*/) {}
  virtual void OnResumed() {}

  // The last call, exactly once. OK if the session was closed in order.
  virtual void OnEnded(const absl::Status& why) = 0;
};

struct ControlSessionOptions {
  std::chrono::milliseconds lease = std::chrono::seconds(60);
  ReliableLimits limits;
};

// Thread-safe. The handler is owned by the session until OnEnded has returned.
class ControlSession {
 public:
  ControlSession(std::shared_ptr<ControlHandler> handler, const ControlSessionOptions& options);
  ~ControlSession();

  // Sends a message; at once if the stream is idle, else with the next frame. Never blocks: a peer
  // that stops reading while the queue is full ends the session with ResourceExhausted. An error
  // means that the session has ended.
  absl::Status Send(std::string message);

  // Like Send, but leaves the message queued until Flush (or a later Send): for a handler that
  // sends many messages at once.
  absl::Status Queue(std::string message);
  void Flush();

  // Ends the session and tells the peer why (OK: closed in order). Messages already queued go first
  // where there is a connection.
  void Close(const absl::Status& why);

  bool connected() const;
  // Bytes in queue that the peer has not acknowledged.
  size_t queued_bytes() const;

 private:
  friend class ControlConnection;
  std::shared_ptr<ControlLink> link_;
};

// Where a connection comes from, for logs and for checks of identity.
struct PeerInfo {
  std::string address;   // "ipv4:127.0.0.1:4711", "unix:"
  std::string identity;  // of a verified TLS certificate; else empty
};

// Answer to an opening frame.
struct Admission {
  std::shared_ptr<ControlSession> session;  // a new one, or the one to resume
  bool resumed = false;
  std::string welcome;  // serialised; field `opening` of the first frame back
};

// Decides about connections to one method. Called on pollers' threads, several at once; must not
// block.
class ControlAcceptor {
 public:
  virtual ~ControlAcceptor() = default;

  // `hello` came from anybody. An error is told to the peer as the reason of refusal.
  virtual absl::StatusOr<Admission> OnHello(absl::string_view hello, const PeerInfo& peer) = 0;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_CONTROL_SERVER_H_
