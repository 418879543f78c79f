#include "client/examples/byte_text.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace moai::examples {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read text from ", path));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

absl::StatusOr<ByteText> ByteText::Load(const std::string& path) {
  std::vector<std::string> files;
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      // Links repeat a file that is there anyway.
      if (entry.is_regular_file(error) && !entry.is_symlink(error)) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(path);
  }
  std::string text;
  for (const std::string& file : files) {
    absl::StatusOr<std::string> content = ReadFile(file);
    if (!content.ok()) return content.status();
    text += *content;
  }
  if (text.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no text in ", path, "; give a larger one with --text"));
  }
  return ByteText(std::move(text));
}

Batch ByteText::Draw(int64_t batch, int64_t sequence, std::mt19937_64& random) const {
  Batch drawn;
  drawn.ids.reserve(batch * sequence);
  drawn.labels.reserve(batch * sequence);
  for (int64_t row = 0; row < batch; ++row) {
    const int64_t start = static_cast<int64_t>(random() % static_cast<uint64_t>(size() - sequence));
    for (int64_t i = 0; i < sequence; ++i) {
      drawn.ids.push_back(static_cast<uint8_t>(text_[start + i]));
      drawn.labels.push_back(static_cast<uint8_t>(text_[start + i + 1]));
    }
  }
  return drawn;
}

std::string ByteText::Excerpt(int64_t count, std::mt19937_64& random) const {
  count = std::min(count, size());
  const int64_t places = size() - count + 1;
  return text_.substr(random() % static_cast<uint64_t>(places), count);
}

}  // namespace moai::examples
