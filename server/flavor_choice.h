// How large an accelerator a client gets. The front door asks when a session begins.
#ifndef MOAI_SERVER_FLAVOR_CHOICE_H_
#define MOAI_SERVER_FLAVOR_CHOICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace moai {

// A named size of a virtual accelerator.
struct Flavor {
  std::string name;  // what the client is told; empty: named after the devices it gets
  int devices = 1;
  int64_t device_memory_bytes = 0;  // what each device must have at least; 0: any will do
};

// Who asks. Checked already: the token is one that this server knows.
struct FlavorRequest {
  absl::string_view token;
};

// Thread-safe. Called on threads that take messages: must not block for long.
class FlavorChoice {
 public:
  virtual ~FlavorChoice() = default;
  // What this client's next session runs on. An error refuses the session, with its words.
  virtual absl::StatusOr<Flavor> Current(const FlavorRequest& request) = 0;
};

// Everybody gets so many devices. Requires devices >= 1.
std::unique_ptr<FlavorChoice> MakeFixedFlavor(int devices);

}  // namespace moai

#endif  // MOAI_SERVER_FLAVOR_CHOICE_H_
