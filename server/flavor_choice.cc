#include "server/flavor_choice.h"

namespace moai {
namespace {

class FixedFlavor : public FlavorChoice {
 public:
  explicit FixedFlavor(int devices) : devices_(devices) {}
  absl::StatusOr<ChosenFlavor> Current(const FlavorRequest& /*request*/) override {
    return ChosenFlavor{Flavor{.devices = devices_}};
  }

 private:
  const int devices_;
};

}  // namespace

std::unique_ptr<FlavorChoice> MakeFixedFlavor(int devices) {
  return std::make_unique<FixedFlavor>(devices);
}

}  // namespace moai
