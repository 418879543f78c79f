// A command line flag that is a number of bytes: "4GiB", "512MiB", "1000".
#ifndef MOAI_BASE_BYTE_SIZE_H_
#define MOAI_BASE_BYTE_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace moai {

struct ByteSizeFlag {
  int64_t bytes = 0;
};

// "KiB", "MiB", "GiB", "TiB" multiply by powers of 1024; so do "KB" ... and "K" ..., as people mean
// them for memory.
bool AbslParseFlag(absl::string_view text, ByteSizeFlag* flag, std::string* error);
std::string AbslUnparseFlag(const ByteSizeFlag& flag);

}  // namespace moai

#endif  // MOAI_BASE_BYTE_SIZE_H_
