// A whole file in memory, by mmap.
#ifndef MOAI_CLIENT_IO_FILE_MAPPING_H_
#define MOAI_CLIENT_IO_FILE_MAPPING_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace moai {

// Unmapped when the last owner goes. Any thread.
class FileMapping {
 public:
  static absl::StatusOr<std::shared_ptr<const FileMapping>> Read(const std::string& path);
  // Makes (or empties) the file with `size` bytes of zeros; writes reach the file.
  static absl::StatusOr<std::shared_ptr<FileMapping>> Create(const std::string& path, size_t size);
  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  absl::Span<const std::byte> bytes() const { return {data_, size_}; }
  absl::Span<std::byte> mutable_bytes() { return {data_, size_}; }
  // Waits until the bytes are on disk.
  absl::Status Flush();

 private:
  FileMapping(std::byte* data, size_t size) : data_(data), size_(size) {}

  std::byte* data_;
  size_t size_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_IO_FILE_MAPPING_H_
