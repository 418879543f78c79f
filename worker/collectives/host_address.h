// Names of this machine's network addresses.
#ifndef MOAI_WORKER_COLLECTIVES_HOST_ADDRESS_H_
#define MOAI_WORKER_COLLECTIVES_HOST_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"

namespace moai {

// "localhost" -> "127.0.0.1". InvalidArgument for a name without an address: Gloo would not notice.
absl::StatusOr<std::string> NumericAddress(const std::string& host);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_HOST_ADDRESS_H_
