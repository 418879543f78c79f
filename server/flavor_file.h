// The operator's own list of flavors, a YAML file:
//
//   flavors:
//     - name: Small.64GB
//       devices: 1
//       memory: 64GiB      # of each device
//     - {name: Medium.128GB, devices: 2, memory: 64GiB}
#ifndef MOAI_SERVER_FLAVOR_FILE_H_
#define MOAI_SERVER_FLAVOR_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "scheduler/flavors.h"

namespace moai {

// In the order of the file, checked by CheckFlavors. Errors name the file, and the line where
// there is one.
absl::StatusOr<std::vector<Flavor>> ReadFlavorFile(const std::string& path);
// The same of a text; `path` is for its errors.
absl::StatusOr<std::vector<Flavor>> ParseFlavors(const std::string& text, const std::string& path);

}  // namespace moai

#endif  // MOAI_SERVER_FLAVOR_FILE_H_
