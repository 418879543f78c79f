#include "server/virtual_devices.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace moai {
namespace {

std::string Names(absl::Span<const Flavor> flavors) {
  return absl::StrJoin(flavors, ", ", [](std::string* out, const Flavor& flavor) {
    absl::StrAppend(out, flavor.name);
  });
}

absl::Status NoPool() {
  return absl::UnavailableError("no worker has registered with this server yet");
}

}  // namespace

VirtualDevices::VirtualDevices(const Pool* pool, Store* store, std::vector<Flavor> own,
                               int default_devices)
    : pool_(pool), store_(store), own_(std::move(own)), default_devices_(default_devices) {}

std::string VirtualDevices::IdentityOf(absl::string_view /*token*/) {
  // The token is one secret that all clients share, and may change: it names nobody.
  return "";
}

std::vector<Flavor> VirtualDevices::Listed() const {
  return own_.empty() ? FlavorsOfPool(pool_->Profiles()) : own_;
}

std::vector<Flavor> VirtualDevices::Offered() const {
  const std::vector<DeviceProfile> pool = pool_->Profiles();
  std::vector<Flavor> flavors = own_.empty() ? FlavorsOfPool(pool) : own_;
  flavors.erase(std::remove_if(flavors.begin(), flavors.end(),
                               [&](const Flavor& flavor) { return !PoolHas(pool, flavor); }),
                flavors.end());
  return flavors;
}

Flavor VirtualDevices::Default(absl::Span<const Flavor> offered) const {
  for (const Flavor& flavor : offered) {
    if (flavor.devices == default_devices_) return flavor;
  }
  if (!own_.empty() && !offered.empty()) return offered.front();
  return Flavor{.devices = default_devices_};
}

absl::StatusOr<ChosenFlavor> VirtualDevices::Current(const FlavorRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const VirtualDevice device,
                        Find(IdentityOf(request.token), request.visible_device));
  if (device.flavor.devices > 0) return ChosenFlavor{device.flavor, device.id};
  const std::vector<DeviceProfile> pool = pool_->Profiles();
  if (pool.empty()) return NoPool();
  const std::vector<Flavor> listed = Listed();
  if (const Flavor* flavor = FindFlavor(listed, device.flavor.name)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the model ", flavor->name, " needs ", flavor->devices, " devices, and the server has ",
        pool.size(), " now; wait for its workers, or choose another with moreh-switch-model"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the model ", device.flavor.name,
                   " is not offered any more; choose another with moreh-switch-model"));
}

absl::StatusOr<std::vector<VirtualDevice>> VirtualDevices::List(absl::string_view identity) {
  MutexLock lock(mutex_);
  return ListLocked(identity);
}

absl::StatusOr<std::vector<VirtualDevice>> VirtualDevices::ListLocked(absl::string_view identity) {
  MOAI_ASSIGN_OR_RETURN(std::vector<StoredDevice> stored, store_->Devices(identity));
  if (stored.empty()) stored.push_back({0, ""});
  MOAI_ASSIGN_OR_RETURN(const std::optional<uint32_t> current, store_->CurrentDevice(identity));
  const std::vector<Flavor> offered = Offered();
  std::vector<VirtualDevice> devices;
  bool found = false;
  for (const StoredDevice& device : stored) {
    const Flavor* const flavor = FindFlavor(offered, device.flavor);
    devices.push_back({device.id,
                       device.flavor.empty() ? Default(offered)
                       : flavor != nullptr   ? *flavor
                                             : Flavor{device.flavor, 0, 0},
                       device.id == current});
    found |= devices.back().current;
  }
  if (!found) devices.front().current = true;
  return devices;
}

absl::StatusOr<VirtualDevice> VirtualDevices::Find(absl::string_view identity,
                                                   std::optional<uint32_t> id) {
  MutexLock lock(mutex_);
  return FindLocked(identity, id);
}

absl::StatusOr<VirtualDevice> VirtualDevices::FindLocked(absl::string_view identity,
                                                         std::optional<uint32_t> id) {
  MOAI_ASSIGN_OR_RETURN(const std::vector<VirtualDevice> devices, ListLocked(identity));
  for (const VirtualDevice& device : devices) {
    if (id.has_value() ? device.id == *id : device.current) return device;
  }
  return absl::NotFoundError(
      absl::StrCat("there is no virtual device ", *id, "; `moreh-smi device --list` shows them"));
}

absl::Status VirtualDevices::CheckOffered(absl::string_view name) const {
  const std::vector<Flavor> offered = Offered();
  if (FindFlavor(offered, name) != nullptr) return absl::OkStatus();
  if (offered.empty()) return absl::FailedPreconditionError(NoPool().message());
  const std::vector<Flavor> listed = Listed();
  const Flavor* const larger = FindFlavor(listed, name);
  return absl::NotFoundError(absl::StrCat(
      "there is no model ", name,
      larger != nullptr
          ? absl::StrCat(" now: the server lacks some of its ", larger->devices, " devices")
          : "",
      "; the models are ", Names(offered)));
}

absl::Status VirtualDevices::SwitchFlavor(absl::string_view identity, uint32_t id,
                                          absl::string_view flavor) {
  MOAI_RETURN_IF_ERROR(CheckOffered(flavor));
  MutexLock lock(mutex_);
  MOAI_RETURN_IF_ERROR(FindLocked(identity, id).status());
  return store_->PutDevice(identity, {id, std::string(flavor)});
}

absl::StatusOr<uint32_t> VirtualDevices::Add(absl::string_view identity, absl::string_view flavor) {
  MOAI_RETURN_IF_ERROR(CheckOffered(flavor));
  MutexLock lock(mutex_);
  MOAI_ASSIGN_OR_RETURN(const std::vector<VirtualDevice> devices, ListLocked(identity));
  if (devices.size() >= kMaxDevices) {
    return absl::FailedPreconditionError(
        absl::StrCat("you have ", devices.size(),
                     " virtual devices; no more are allowed. Remove one with moreh-smi device "
                     "--rm"));
  }
  // The first device is not stored as long as it is the only one and nothing was chosen for it.
  MOAI_ASSIGN_OR_RETURN(const std::vector<StoredDevice> stored, store_->Devices(identity));
  if (stored.empty()) MOAI_RETURN_IF_ERROR(store_->PutDevice(identity, {devices[0].id, ""}));
  uint32_t id = 0;
  for (const VirtualDevice& device : devices) {
    if (device.id == id) ++id;
  }
  MOAI_RETURN_IF_ERROR(store_->PutDevice(identity, {id, std::string(flavor)}));
  return id;
}

absl::Status VirtualDevices::Remove(absl::string_view identity, uint32_t id) {
  MutexLock lock(mutex_);
  MOAI_RETURN_IF_ERROR(FindLocked(identity, id).status());
  MOAI_ASSIGN_OR_RETURN(const std::vector<VirtualDevice> devices, ListLocked(identity));
  if (devices.size() == 1) {
    return absl::FailedPreconditionError("the last virtual device cannot be removed");
  }
  MOAI_RETURN_IF_ERROR(store_->RemoveDevice(identity, id));
  // Otherwise a device that is given this id later would be current at once.
  MOAI_ASSIGN_OR_RETURN(const std::optional<uint32_t> current, store_->CurrentDevice(identity));
  if (current != id) return absl::OkStatus();
  return store_->SetCurrentDevice(identity, devices[devices[0].id == id ? 1 : 0].id);
}

absl::Status VirtualDevices::SwitchCurrent(absl::string_view identity, uint32_t id) {
  MutexLock lock(mutex_);
  MOAI_RETURN_IF_ERROR(FindLocked(identity, id).status());
  return store_->SetCurrentDevice(identity, id);
}

}  // namespace moai
