#include "wire/random_id.h"

#include <sys/random.h>

#include <cerrno>

namespace moai::wire {

std::string NewRandomId() {
  std::string id(kRandomIdBytes, '\0');
  size_t filled = 0;
  while (filled < id.size()) {
    // Blocks only before the generator is seeded, early at boot; then it never fails for so few
    // bytes.
    const ssize_t got = getrandom(id.data() + filled, id.size() - filled, 0);
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return id;
}

bool EqualSecrets(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

}  // namespace moai::wire
