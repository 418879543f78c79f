// The virtual devices of each identity and the flavors they may have: what moreh-switch-model and
// `moreh-smi device` change, and what the next session runs on.
//
// An identity that has never asked for anything has one device, 0, of the first flavor offered.
#ifndef MOAI_SERVER_VIRTUAL_DEVICES_H_
#define MOAI_SERVER_VIRTUAL_DEVICES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "scheduler/flavors.h"
#include "scheduler/pool.h"
#include "server/flavor_choice.h"
#include "server/store.h"

namespace moai {

struct VirtualDevice {
  uint32_t id = 0;
  // Of a flavor that is offered no more the name only: 0 devices.
  Flavor flavor;
  bool current = false;
};

// Thread-safe. Errors are for the person who asked.
class VirtualDevices : public FlavorChoice {
 public:
  static constexpr size_t kMaxDevices = 5;  // of one identity

  // `own` is the operator's list; empty: FlavorsOfPool. `default_devices` says which of the offered
  // flavors an identity has that never chose one. Pool and store outlive this.
  VirtualDevices(const Pool* pool, Store* store, std::vector<Flavor> own, int default_devices);

  // Of the device that the request names, else of the current one. While the pool lacks its
  // devices: an error that says so.
  absl::StatusOr<ChosenFlavor> Current(const FlavorRequest& request) override;

  // Whom a request comes from. There is one user until the server knows identities.
  static std::string IdentityOf(absl::string_view token);

  // The flavors that the pool has devices for, and those that it has not.
  std::vector<Flavor> Offered() const;
  std::vector<Flavor> Listed() const;

  // In the order of their ids, never empty.
  absl::StatusOr<std::vector<VirtualDevice>> List(absl::string_view identity);
  // The device of that id; without one, the current device.
  absl::StatusOr<VirtualDevice> Find(absl::string_view identity, std::optional<uint32_t> id);

  absl::Status SwitchFlavor(absl::string_view identity, uint32_t id, absl::string_view flavor);
  // Returns the new device's id, the smallest free one.
  absl::StatusOr<uint32_t> Add(absl::string_view identity, absl::string_view flavor);
  // Not the last one. Where it was current, the device of the smallest id is from then on.
  absl::Status Remove(absl::string_view identity, uint32_t id);
  absl::Status SwitchCurrent(absl::string_view identity, uint32_t id);

 private:
  absl::StatusOr<std::vector<VirtualDevice>> ListLocked(absl::string_view identity)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<VirtualDevice> FindLocked(absl::string_view identity, std::optional<uint32_t> id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // NotFound with the names that there are.
  absl::Status CheckOffered(absl::string_view flavor) const;
  // The one an identity has that never chose: nameless where no flavor has default_devices_.
  Flavor Default(absl::Span<const Flavor> offered) const;

  const Pool* const pool_;
  Store* const store_;
  const std::vector<Flavor> own_;
  const int default_devices_;
  Mutex mutex_;  // a change reads what is stored before it writes
};

}  // namespace moai

#endif  // MOAI_SERVER_VIRTUAL_DEVICES_H_
