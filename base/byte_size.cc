#include "base/byte_size.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace moai {

bool AbslParseFlag(absl::string_view text, ByteSizeFlag* flag, std::string* error) {
  absl::string_view number = text;
  if (!absl::ConsumeSuffix(&number, "iB")) absl::ConsumeSuffix(&number, "B");
  int shift = 0;
  for (const auto& [unit, bits] : {std::pair{"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}}) {
    if (!absl::ConsumeSuffix(&number, unit)) continue;
    shift = bits;
    break;
  }
  int64_t value = 0;
  if (!absl::SimpleAtoi(number, &value) || value < 0 ||
      value > std::numeric_limits<int64_t>::max() >> shift) {
    *error = absl::StrCat("\"", text, "\" is no number of bytes such as 4GiB or 512MiB");
    return false;
  }
  flag->bytes = value << shift;
  return true;
}

std::string AbslUnparseFlag(const ByteSizeFlag& flag) {
  constexpr absl::string_view kUnits[] = {"", "KiB", "MiB", "GiB", "TiB"};
  int64_t value = flag.bytes;
  int unit = 0;
  for (; unit < 4 && value > 0 && value % 1024 == 0; ++unit) value /= 1024;
  return absl::StrCat(value, kUnits[unit]);
}

}  // namespace moai
