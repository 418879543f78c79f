// The one line that connects a program.
#ifndef MOAI_CLIENT_ACCELERATOR_H_
#define MOAI_CLIENT_ACCELERATOR_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/session.h"
#include "client/session/connect.h"

namespace moai {

// A session, attached to the thread that made it: tensors of that thread live on it until it is
// destroyed. Tensors may outlive it; using them then is an error, not a crash.
class Accelerator {
 public:
  // Where to: `options`, then the environment (MOAI_SERVER), then a server started for this
  // program.
  static absl::StatusOr<Accelerator> Connect(const ConnectOptions& options = {});
  // Attaches a session that exists already; tests use the reference interpreter's.
  static Accelerator Attach(std::shared_ptr<Session> session);

  Accelerator(Accelerator&&) noexcept = default;
  Accelerator& operator=(Accelerator&&) = delete;
  ~Accelerator();

  // Submits what was recorded and waits until everything has run. The first error since the last
  // call.
  absl::Status Synchronize();
  SessionStats stats() const { return session_->stats(); }
  std::string name() const { return session_->accelerator_name(); }
  uint64_t memory_bytes() const { return session_->memory_bytes(); }

 private:
  explicit Accelerator(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  std::shared_ptr<Session> session_;  // null once moved from
};

}  // namespace moai

#endif  // MOAI_CLIENT_ACCELERATOR_H_
