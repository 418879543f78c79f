// A text as batches of bytes: the simplest tokenizer there is.
#ifndef MOAI_CLIENT_EXAMPLES_BYTE_TEXT_H_
#define MOAI_CLIENT_EXAMPLES_BYTE_TEXT_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace moai::examples {

struct Batch {
  std::vector<int32_t> ids;     // [batch, sequence]
  std::vector<int32_t> labels;  // the byte that follows each
};

class ByteText {
 public:
  // A file, or all regular files of a directory in the order of their names. NotFound and
  // InvalidArgument name the path and what to do.
  static absl::StatusOr<ByteText> Load(const std::string& path);

  int64_t size() const { return static_cast<int64_t>(text_.size()); }
  // Sequences at random places. Requires sequence < size().
  Batch Draw(int64_t batch, int64_t sequence, std::mt19937_64& random) const;
  // `count` bytes from a random place.
  std::string Excerpt(int64_t count, std::mt19937_64& random) const;

 private:
  explicit ByteText(std::string text) : text_(std::move(text)) {}

  std::string text_;
};

}  // namespace moai::examples

#endif  // MOAI_CLIENT_EXAMPLES_BYTE_TEXT_H_
