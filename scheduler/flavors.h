// The sizes in which a pool is offered: a flavor is so many devices of so much memory, under a name
// that people choose it by. Names are ids; positions in a list are for menus only.
#ifndef MOAI_SCHEDULER_FLAVORS_H_
#define MOAI_SCHEDULER_FLAVORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "scheduler/pool.h"

namespace moai {

// A named size of a virtual accelerator.
struct Flavor {
  std::string name;  // what the client is told; empty: named after the devices it gets
  int devices = 1;
  int64_t device_memory_bytes = 0;  // what each device must have at least; 0: any will do

  int64_t memory_bytes() const { return devices * device_memory_bytes; }
};

// "Small.64GB", "1.5xLarge.768GB", "Medium.512MB": a word for the number of devices, and what they
// have together.
std::string StandardFlavorName(int devices, int64_t device_memory_bytes);

// What a pool offers where its operator has written no list: 1, 2, 4, 8, ... devices, as many as
// there are. Where devices differ the largest are taken first, and each counts as large as the
// smallest taken.
std::vector<Flavor> FlavorsOfPool(absl::Span<const DeviceProfile> pool);

// Whether a pool in which nothing runs has the devices of a flavor.
bool PoolHas(absl::Span<const DeviceProfile> pool, const Flavor& flavor);

// Null where no flavor has the name.
const Flavor* FindFlavor(absl::Span<const Flavor> flavors, absl::string_view name);

// Of a list that an operator has written: names that differ and stand in one line of a menu, at
// least one device, memory. The error names the flavor and what is wrong with it.
absl::Status CheckFlavors(absl::Span<const Flavor> flavors);

}  // namespace moai

#endif  // MOAI_SCHEDULER_FLAVORS_H_
