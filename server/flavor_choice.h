// How large an accelerator a client gets. The front door asks when a session begins.
#ifndef MOAI_SERVER_FLAVOR_CHOICE_H_
#define MOAI_SERVER_FLAVOR_CHOICE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "scheduler/flavors.h"

namespace moai {

// Who asks. Checked already: the token is one that this server knows.
struct FlavorRequest {
  absl::string_view token;
  std::optional<uint32_t> visible_device;  // the virtual device it names; else its current one
};

struct ChosenFlavor {
  Flavor flavor;
  uint32_t virtual_device = 0;  // whose it is, of the client's identity
};

// Thread-safe. Called on threads that take messages: must not block for long.
class FlavorChoice {
 public:
  virtual ~FlavorChoice() = default;
  // What this client's next session runs on. An error refuses the session, with its words.
  virtual absl::StatusOr<ChosenFlavor> Current(const FlavorRequest& request) = 0;
};

}  // namespace moai

#endif  // MOAI_SERVER_FLAVOR_CHOICE_H_
