// A session in one piece: the server's core and the executor behind it, calling each other without
// sockets or processes. Every message runs through all of it, kernels included, before the next.
#ifndef MOAI_TESTS_SECURITY_LOCAL_SESSION_H_
#define MOAI_TESTS_SECURITY_LOCAL_SESSION_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace moai {

class LocalSession {
 public:
  explicit LocalSession(int64_t device_memory);
  ~LocalSession();

  // Takes one serialised ClientMessage, then asks for the errors of the steps so far. Returns what
  // the client would be told: the first error in an answer, or why the session has ended.
  absl::Status Give(absl::string_view message);

  // The last message broke the protocol, or closed the session: another is needed.
  bool ended() const;
  // What the two sides blamed on each other. Whatever the client sends, the server must not pass on
  // what its executor refuses, nor the other way round.
  const absl::Status& internal_error() const;
  // The number that the next step must have.
  uint64_t next_step() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moai

#endif  // MOAI_TESTS_SECURITY_LOCAL_SESSION_H_
