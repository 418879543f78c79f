// A TCP proxy for tests of bad links: it breaks connections after random numbers of bytes, and adds
// delay. Breaking means a reset in the middle of whatever was being said.
#ifndef MOAI_TESTS_SUPPORT_FLAKY_PROXY_H_
#define MOAI_TESTS_SUPPORT_FLAKY_PROXY_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace moai::testing {

// Thread-safe. One thread of its own moves the bytes.
class FlakyProxy {
 public:
  // Listens on a free loopback port and forwards to `target`: "127.0.0.1:port" or "unix:/path".
  static absl::StatusOr<std::unique_ptr<FlakyProxy>> Start(const std::string& target);
  ~FlakyProxy();

  // "127.0.0.1:port".
  const std::string& address() const { return address_; }

  // Each byte arrives this much later, in each direction.
  void SetDelay(std::chrono::milliseconds one_way);

  // Breaks every open connection now.
  void CutAll();

  // Breaks connections, `cuts` times in all: each after a random number of bytes between min_bytes
  // and max_bytes, counting both directions, from now or from its beginning.
  void CutRandomly(uint32_t seed, int cuts, size_t min_bytes, size_t max_bytes);

  // How many connections have been broken so far.
  int cuts() const;

  // While false, new connections are reset at once.
  void SetAccepting(bool accepting);

 private:
  class Impl;
  FlakyProxy(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace moai::testing

#endif  // MOAI_TESTS_SUPPORT_FLAKY_PROXY_H_
