// Addresses of this machine.
#ifndef MOAI_WORKER_COLLECTIVES_HOST_ADDRESS_H_
#define MOAI_WORKER_COLLECTIVES_HOST_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"

namespace moai {

// The number of an address that this machine can listen at: "localhost" -> "127.0.0.1". Gloo is
// given nothing else, since it does not notice names that have no address. InvalidArgument for
// those, Unavailable for addresses of other machines.
absl::StatusOr<std::string> ListenAddress(const std::string& host);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_HOST_ADDRESS_H_
