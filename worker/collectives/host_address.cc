#include "worker/collectives/host_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace moai {
namespace {

// 0, or the errno of listening there at any port.
int TryToBind(const addrinfo& address) {
  const int fd = socket(address.ai_family, address.ai_socktype, address.ai_protocol);
  if (fd < 0) return errno;
  const int error = bind(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

absl::StatusOr<std::string> ListenAddress(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no address of the host ", host, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  int refused = 0;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    refused = TryToBind(*address);
    char number[NI_MAXHOST] = {};
    if (refused == 0 && getnameinfo(address->ai_addr, address->ai_addrlen, number, sizeof(number),
                                    nullptr, 0, NI_NUMERICHOST) == 0) {
      return std::string(number);
    }
  }
  return absl::UnavailableError(
      absl::StrCat("cannot listen at ", host, " for other executors: ", std::strerror(refused)));
}

}  // namespace moai
