#include "scheduler/flavors.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace moai {
namespace {

constexpr int kMaxFlavors = 256;
constexpr int kMaxFlavorDevices = 1 << 20;
constexpr int64_t kMaxDeviceBytes = int64_t{1} << 50;
constexpr size_t kMaxNameLength = 64;

std::string Word(int devices) {
  switch (devices) {
    case 1:
      return "Small";
    case 2:
      return "Medium";
    case 4:
      return "Large";
    case 8:
      return "xLarge";
    default:
      return absl::StrCat(devices / 8.0, "xLarge");
  }
}

// At least a gigabyte is always told in gigabytes: "2xLarge.1024GB".
std::string Size(int64_t bytes) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  constexpr int64_t kGiB = int64_t{1} << 30;
  const int64_t unit = bytes >= kGiB ? kGiB : kMiB;
  const char* const name = bytes >= kGiB ? "GB" : "MB";
  if (bytes % unit == 0) return absl::StrCat(bytes / unit, name);
  return absl::StrFormat("%.1f%s", double(bytes) / double(unit), name);
}

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxNameLength &&
         std::all_of(name.begin(), name.end(), absl::ascii_isgraph);
}

}  // namespace

std::string StandardFlavorName(int devices, int64_t device_memory_bytes) {
  return absl::StrCat(Word(devices), ".", Size(devices * device_memory_bytes));
}

std::vector<Flavor> FlavorsOfPool(absl::Span<const DeviceProfile> pool) {
  std::vector<int64_t> memory;
  for (const DeviceProfile& device : pool) memory.push_back(device.memory_bytes);
  std::sort(memory.begin(), memory.end(), std::greater<>());
  std::vector<Flavor> flavors;
  for (size_t devices = 1; devices <= memory.size(); devices *= 2) {
    const int64_t smallest = memory[devices - 1];
    flavors.push_back({StandardFlavorName(int(devices), smallest), int(devices), smallest});
  }
  return flavors;
}

bool PoolHas(absl::Span<const DeviceProfile> pool, const Flavor& flavor) {
  return std::count_if(pool.begin(), pool.end(), [&](const DeviceProfile& device) {
           return device.memory_bytes >= flavor.device_memory_bytes;
         }) >= flavor.devices;
}

const Flavor* FindFlavor(absl::Span<const Flavor> flavors, absl::string_view name) {
  const auto found = std::find_if(flavors.begin(), flavors.end(),
                                  [&](const Flavor& flavor) { return flavor.name == name; });
  return found == flavors.end() ? nullptr : &*found;
}

absl::Status CheckFlavors(absl::Span<const Flavor> flavors) {
  if (flavors.empty() || flavors.size() > kMaxFlavors) {
    return absl::InvalidArgumentError(
        absl::StrCat("a list of ", flavors.size(), " flavors; expected 1 to ", kMaxFlavors));
  }
  std::set<absl::string_view> names;
  for (size_t i = 0; i < flavors.size(); ++i) {
    const Flavor& flavor = flavors[i];
    if (!IsName(flavor.name)) {
      return absl::InvalidArgumentError(absl::StrCat("flavor ", i + 1, ": its name must have 1 to ",
                                                     kMaxNameLength,
                                                     " printable characters, no spaces"));
    }
    if (!names.insert(flavor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("flavor ", i + 1, ": the name ", flavor.name, " is taken"));
    }
    if (flavor.devices < 1 || flavor.devices > kMaxFlavorDevices) {
      return absl::InvalidArgumentError(absl::StrCat("flavor ", flavor.name, ": ", flavor.devices,
                                                     " devices; expected 1 to ",
                                                     kMaxFlavorDevices));
    }
    if (flavor.device_memory_bytes <= 0 || flavor.device_memory_bytes > kMaxDeviceBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "flavor ", flavor.name, ": ", flavor.device_memory_bytes, " bytes are no device memory"));
    }
  }
  return absl::OkStatus();
}

}  // namespace moai
