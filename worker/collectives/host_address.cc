#include "worker/collectives/host_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"

namespace moai {

absl::StatusOr<std::string> NumericAddress(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  char number[NI_MAXHOST] = {};
  if (error == 0) {
    error = getnameinfo(found->ai_addr, found->ai_addrlen, number, sizeof(number), nullptr, 0,
                        NI_NUMERICHOST);
    freeaddrinfo(found);
  }
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no address of the host ", host, ": ", gai_strerror(error)));
  }
  return std::string(number);
}

}  // namespace moai
