// The links between the devices of a session, as one of its executor processes has them.
#ifndef MOAI_WORKER_EXECUTOR_SESSION_PEERS_H_
#define MOAI_WORKER_EXECUTOR_SESSION_PEERS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/worker.pb.h"
#include "worker/collectives/link_throttle.h"
#include "worker/executor/device_peers.h"

namespace moai {

// Thread-safe; what it gives for a device belongs to that device's thread.
class SessionPeers {
 public:
  // Listens on `host` where the session has other executors.
  static absl::StatusOr<std::unique_ptr<SessionPeers>> Open(const proto::SessionShape& shape,
                                                            const std::string& host,
                                                            const LinkThrottle& throttle = {});
  virtual ~SessionPeers() = default;

  // Of ExecutorHello.peer_addresses.
  virtual const std::vector<std::string>& addresses() const = 0;
  // Connects to the session's other executors. Each device calls it, before anything else is run;
  // the first does it and the others wait.
  virtual absl::Status Connect(const proto::ConnectPeers& peers) = 0;
  // Of the device of this position in this process. Lives as long as this.
  virtual DevicePeers* For(size_t device) = 0;
  // Whoever waits for another device, or will, gets this error.
  virtual void Abort(const absl::Status& why) = 0;
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_SESSION_PEERS_H_
