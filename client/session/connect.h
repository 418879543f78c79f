// One line to a virtual accelerator.
#ifndef MOAI_CLIENT_SESSION_CONNECT_H_
#define MOAI_CLIENT_SESSION_CONNECT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/session.h"

namespace moai {

// What is empty comes from the environment: MOAI_SERVER, MOAI_TOKEN. MOREH_VISIBLE_DEVICE picks one
// of several virtual devices.
struct ConnectOptions {
  // "host:port" or "unix:/path". Empty, and no MOAI_SERVER: a server and a worker with this
  // machine's own devices are started for as long as the session lives.
  std::string server;
  std::string token;
  // Whether to tell the person at the terminal, on stderr, what happens. MOAI_LOG=off turns it off
  // too.
  bool log = true;
  // Whether bulk bytes may go through shared memory. MOAI_SHARED_MEMORY=off turns it off too.
  bool shared_memory = true;
  // Keep trying for 20 seconds while nobody listens at the address yet.
  bool wait_for_server = false;
};

// Prints a line to the person at the terminal; empty where the options or the environment turn that
// off. Thread-safe.
std::function<void(absl::string_view line)> PrinterOf(const ConnectOptions& options);

// Begins a session. The error says what was tried and what to do.
absl::StatusOr<std::shared_ptr<Session>> Connect(const ConnectOptions& options = {});

}  // namespace moai

#endif  // MOAI_CLIENT_SESSION_CONNECT_H_
